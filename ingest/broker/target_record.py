"""The record of the target (queue or stream) that all workers of a database publish to.

The database stores this shared target, and the settings of each worker that was seen lately.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from ingest.failover import each_host
from ingest.settings import Settings

LIVE_SECONDS = 30.0
"""A worker that was not seen for this time may be dead. Before a worker replaces the shared target, it waits as long
for live workers that use it."""

Target = Mapping[str, str | int]
"""Settings that name a queue or a stream, with their values."""
UNLESS_EMPTY = ("INGEST_EXCHANGE", "INGEST_ROUTING_KEY", "INGEST_STREAM_FILTER")
"""Settings that a target has only if they are set. So targets of a version that does not know them count as without."""


class RecordedWorker(msgspec.Struct, frozen=True):
    """A worker in the record: its node's name, its target, and when it was last seen."""

    node: str
    target: Target
    seen_seconds_ago: float

    @property
    def live(self) -> bool:
        return self.seen_seconds_ago < LIVE_SECONDS


class TargetRecord(msgspec.Struct, frozen=True):
    """The shared target (None if there is none yet), all workers, and whether events wait in the outbox."""

    shared: Target | None
    workers: Sequence[RecordedWorker]
    waiting: bool


class TargetTable(Protocol):
    """The database table of the record. All methods raise `StoreError`."""

    async def share(self, worker: str, node: str, target: Target, replaces: Callable[[TargetRecord], bool]) -> Target:
        """Record this worker as live, and return the shared target.

        If the targets differ and `replaces(record)` is true, `target` becomes the shared one. No other worker can
        change the record meanwhile.
        """

    async def record(self) -> TargetRecord: ...

    async def leave(self, worker: str) -> None:
        """Remove this worker, which publishes nothing any more."""


def target_of(settings: Settings) -> Target:
    """Return the settings that all nodes of a database must share. The declaration compares the kind of a queue."""
    if settings.publish_to == "stream":
        where: dict[str, str | int] = {"INGEST_STREAM_PARTITIONS": settings.stream_partitions}
        where |= {"INGEST_STREAM_FILTER": settings.stream_filter} if settings.stream_filter else {}
        url = settings.stream_url
    else:
        where = {"broker": "embedded" if settings.broker_url == "embedded:" else "RabbitMQ"}
        routing = {"INGEST_EXCHANGE": settings.exchange, "INGEST_ROUTING_KEY": settings.routing_key}
        where |= routing if settings.exchange else {}
        url = settings.broker_url
    vhost = unquote(urlsplit(each_host(url)[0]).path[1:]) or "/"
    return {
        "INGEST_PUBLISH_TO": settings.publish_to,
        "INGEST_QUEUE": settings.queue,
        "virtual host": vhost,
        **where,
    }


def same_target(one: Target, other: Target) -> bool:
    """Compare the settings that both targets have: another version may have more settings."""
    return not _different(one, other)


def _different(one: Target, other: Target) -> Sequence[str]:
    shared = [name for name in one if name in other and one[name] != other[name]]
    return shared + [name for name in UNLESS_EMPTY if (name in one) != (name in other)]


def live_nodes(record: TargetRecord, shared: Target) -> Sequence[str]:
    """Return the nodes whose live workers have that target."""
    return sorted({member.node for member in record.workers if member.live and same_target(member.target, shared)})


def explain_difference(own: Target, shared: Target, reason: str) -> str:
    """Say for people which settings differ, why this node cannot replace the shared target, and what to do."""
    names = _different(own, shared)
    here, there = ({name: target.get(name, "") for name in names} for target in (own, shared))
    return (
        f"This node has {target_text(here)}, but all nodes of the database share "
        f"{target_text(there)}: {reason}. This node stores events and publishes none. "
        "Give it the same settings. Or switch: stop all nodes, let outbox and spools drain, and start them, or run "
        "`ingest cluster switch`."
    )


def target_text(target: Target) -> str:
    return " ".join(f"{name}={value}" for name, value in target.items())
