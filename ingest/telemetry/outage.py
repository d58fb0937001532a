"""Logs an outage of a server: its begin, a summary every minute, and its end."""

import asyncio
import logging
from typing import Protocol

import msgspec

from ingest.clock import Monotonic

log = logging.getLogger("ingest.outage")

SUMMARY_SECONDS = 60.0


class Messages(msgspec.Struct, frozen=True):
    """`what` fails, such as "RabbitMQ publish"; `kept` says what happens to the events."""

    what: str
    kept: str


PUBLISH = Messages("RabbitMQ publish", "events stay in the outbox and are published when it is back")
COMMIT = Messages("MySQL commit", "events are kept in the spool and moved to MySQL when it is back")
COMMIT_UNSPOOLED = Messages("database commit", "nothing, as there is no spool: clients must send their events again")


class Level(Protocol):
    """A gauge."""

    def set(self, value: float) -> None: ...


class Outage:
    """One server's outage, shared by all parts of a worker that use the server. Counts the events it affects."""

    def __init__(self, messages: Messages, monotonic: Monotonic, level: Level | None = None) -> None:
        """`level` is set to 1 during an outage, else to 0."""
        self.active = asyncio.Event()
        """Set during the outage, so that a task can wait for its begin."""
        self._messages = messages
        self._level = level
        self._monotonic = monotonic
        self._since: float | None = None
        self._logged_at = 0.0
        self._events = 0
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """The newest reason during an outage, else None."""
        return self._reason

    def record(self, events: int, reason: str) -> None:
        """Begin or continue the outage, which affects this many more events."""
        now = self._monotonic()
        self._events += events
        self._reason = reason
        if self._since is None:
            self._since = self._logged_at = now
            self.active.set()
            self._show(1)
            log.warning(f"{self._messages.what} failed", extra={"reason": reason, "kept": self._messages.kept})
        elif now - self._logged_at >= SUMMARY_SECONDS:
            self._logged_at = now
            log.warning(
                f"{self._messages.what} still fails",
                extra={"reason": reason, "seconds": round(now - self._since), "events": self._events},
            )

    def recovered(self) -> None:
        """End the outage, if there is one: the server works again."""
        if self._since is not None:
            seconds = round(self._monotonic() - self._since, 1)
            log.warning(f"{self._messages.what} works again", extra={"seconds": seconds, "events": self._events})
            self._since, self._events, self._reason = None, 0, None
            self.active.clear()
            self._show(0)

    def _show(self, level: int) -> None:
        if self._level:
            self._level.set(level)
