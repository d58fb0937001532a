"""The audit trail: who asked for what, in a table and in the log.

An entry is written before its act, so that no act lacks an entry. If the act fails, its entry stays: it says what was
asked for.
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ingest.clock import NowUs
from ingest.telemetry.logs import masked

log = logging.getLogger("ingest.audit")

Action = Literal[
    "events.resend",
    "events.erase",
    "events.adopt",
    "dead.retry",
    "dead.drop",
    "token.create",
    "token.rotate",
    "token.revoke",
]
IDS_MAX = 500
"""Most ids in one entry. An act on more events has several entries."""
IDS_LOGGED_MAX = 20
"""A log line has the first ids only. The table has all."""
RANDOM_BITS = 11
"""With the microseconds before them, these make a positive BIGINT until 2112."""
TEXT_CHARACTERS_MAX = 255
TOKEN_IDS = "token_ids"  # noqa: S105 - a name
"""Short ids of tokens. They are hexadecimal, and must not be taken for phone numbers."""


class Actor(msgspec.Struct, frozen=True):
    """The actor is `user:NAME` on a host, or `token:NAME` at a client address. `origin` is the host or the address."""

    name: str
    origin: str


class AuditEntry(msgspec.Struct, frozen=True):
    """`details` has ids and counts, without secrets and full phone numbers. `time_us` is Unix microseconds."""

    id: int
    time_us: int
    actor: str
    origin: str
    action: str
    details: dict[str, Any]


class AuditTable(Protocol):
    """The table `ingest_audit`. Every method raises `StoreError`."""

    async def clock_us(self) -> int: ...

    async def add_audit(self, entry: AuditEntry) -> None: ...

    async def audit_entries(self, before_id: int, limit: int) -> list[AuditEntry]:
        """Return up to `limit` entries with ids below `before_id`, newest first."""

    async def forget_audit(self, before_us: int, limit: int) -> int:
        """Delete up to `limit` entries from before that Unix time, oldest first. Return their number."""


class AuditTrail:
    def __init__(self, table: AuditTable, now_us: NowUs) -> None:
        self._table = table
        self._now_us = now_us

    async def record(self, actor: Actor, action: Action, details: Mapping[str, Any]) -> None:
        """Write the entry, then its log line. Raises `StoreError`: then the act must not happen."""
        entry = entry_of(self._now_us(), actor, action, details)
        await self._table.add_audit(entry)
        log.info(
            "audit",
            extra={
                "actor": entry.actor,
                "origin": entry.origin,
                "action": action,
                "details": _shortened(entry.details),
            },
        )

    async def record_ids(self, actor: Actor, action: Action, event_ids: Sequence[int], **details: Any) -> None:
        """Record an act on these events. More than `IDS_MAX` ids make several entries."""
        for start in range(0, len(event_ids), IDS_MAX):
            some = list(event_ids[start : start + IDS_MAX])
            await self.record(actor, action, {"count": len(some), "event_ids": some, **details})


def entry_of(now_us: int, actor: Actor, action: Action, details: Mapping[str, Any]) -> AuditEntry:
    """Make an entry with phone numbers masked. Two entries of a microsecond have different ids, almost surely."""
    entry_id = now_us << RANDOM_BITS | secrets.randbelow(1 << RANDOM_BITS)
    shown = {name: value if name == TOKEN_IDS else masked(value) for name, value in details.items()}
    name, origin = actor.name[:TEXT_CHARACTERS_MAX], actor.origin[:TEXT_CHARACTERS_MAX]
    return AuditEntry(entry_id, now_us, name, origin, action, shown)


def first_entry_id(us: int) -> int:
    """The smallest id of entries of this Unix microsecond."""
    return us << RANDOM_BITS


def _shortened(details: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value[:IDS_LOGGED_MAX] if isinstance(value, list) else value for name, value in details.items()}
