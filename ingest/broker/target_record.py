"""Workers that share a database publish to one and the same target, or not at all.

What they agreed on is recorded in the database, with the settings of each live worker. A worker that differs takes
events and stores them, and publishes nothing: its events wait in the outbox for the others, or for the switch.
docs/operations.md says how to switch. Without a record, as with SQLite, there is nobody to agree with.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from ingest.clock import Monotonic, jittered
from ingest.errors import StoreError
from ingest.failover import each_host
from ingest.files.atomic import replace_file
from ingest.settings import Settings

log = logging.getLogger("ingest.agreement")

LOOK_SECONDS = 5.0
LIVE_SECONDS = 30.0
"""Who has not been seen for so long may be dead; who replaces what it had agreed on looks for it as long again."""
ASKED_SECONDS_MAX = 1.0
UNKNOWN = "This worker publishes nothing yet: it could not read in the database where all workers publish to."

Target = Mapping[str, str | int]
"""Names of settings, and their values."""


class RecordedWorker(msgspec.Struct, frozen=True):
    """A worker as the record has it: its node's name, its target, and when it was last seen."""

    node: str
    target: Target
    seen_seconds_ago: float

    @property
    def live(self) -> bool:
        return self.seen_seconds_ago < LIVE_SECONDS


class TargetRecord(msgspec.Struct, frozen=True):
    """What the database has: the target agreed on (None: none yet), all workers, and whether events wait there."""

    shared: Target | None
    workers: Sequence[RecordedWorker]
    waiting: bool


class TargetTable(Protocol):
    """Raises `StoreError`s."""

    async def share(self, worker: str, node: str, target: Target, replaces: Callable[[TargetRecord], bool]) -> Target:
        """Note this worker as live, and return what is agreed on then: its own target if `replaces` says so.

        Nobody changes the record meanwhile.
        """

    async def record(self) -> TargetRecord: ...

    async def leave(self, worker: str) -> None:
        """The worker publishes nothing any more."""


class SharedTarget:
    """Of one worker. `table` is None where nobody has to be asked; `memory` is a file of the data folder."""

    def __init__(
        self,
        table: TargetTable | None,
        worker: str,
        node: str,
        target: Target,
        memory: Path,
        monotonic: Monotonic,
    ) -> None:
        self._table = table
        self._worker = worker
        self._node = node
        self._target = target
        self._memory = memory
        self._monotonic = monotonic
        self._shared: Target | None = None
        """As last read, or remembered from an earlier life."""
        self._reason = UNKNOWN
        self._asked = asyncio.Event()
        self._unseen_since: float | None = None
        """Since then nobody was seen live who has the target that this worker would replace."""
        if table:
            self._shared = _remembered(memory)
        else:
            self._asked.set()

    @property
    def differs(self) -> bool:
        return self._shared is None or not same_target(self._shared, self._target)

    def problem(self) -> str | None:
        """Why this worker must publish nothing; None if it may."""
        return self._reason if self._table and self.differs else None

    async def look(self) -> None:
        """Ask the database once. Raises `StoreError`."""
        if not self._table:
            return
        shared = await self._table.share(self._worker, self._node, self._target, self._replaces)
        if shared != self._shared:
            self._shared = shared
            self._log_change(shared)
            self._remember(shared)

    async def run(self) -> None:
        """Until it is cancelled."""
        while self._table:
            try:
                await self.look()
            except StoreError as exc:
                log.debug("the record of the targets could not be read", extra={"reason": str(exc)})
            self._asked.set()
            await asyncio.sleep(jittered(LOOK_SECONDS))

    async def wait_for_first_look(self) -> None:
        """Until the database was asked once, or does not answer soon: what comes before that waits in the outbox, and
        would look there like another target's.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(ASKED_SECONDS_MAX):
                await self._asked.wait()

    async def leave(self) -> None:
        """After the last publish. Never raises for an absent database: the others find out by time."""
        if self._table:
            try:
                await self._table.leave(self._worker)
            except StoreError as exc:
                log.debug("the record still has this worker", extra={"reason": str(exc)})

    def _replaces(self, record: TargetRecord) -> bool:
        if record.shared is None:
            return True
        problem = self._cannot_replace(record, record.shared)
        self._reason = problem or self._reason
        return problem is None

    def _cannot_replace(self, record: TargetRecord, shared: Target) -> str | None:
        holders = [member for member in record.workers if same_target(member.target, shared)]
        live = live_nodes(record, shared)
        now = self._monotonic()
        if live:
            self._unseen_since = None
            return explain_difference(self._target, shared, f"so have {', '.join(live)}")
        self._unseen_since = now if self._unseen_since is None else self._unseen_since
        if holders and now - self._unseen_since < LIVE_SECONDS:
            return explain_difference(self._target, shared, f"its last workers are looked for, {LIVE_SECONDS:g} s long")
        if record.waiting:
            return explain_difference(self._target, shared, "no worker has it any more, but events wait in the outbox")
        return None

    def _log_change(self, shared: Target) -> None:
        if same_target(shared, self._target):
            log.info("publishing where all agreed to", extra={"target": text_of(shared)})
        else:
            log.error("this worker publishes nothing", extra={"reason": self._reason})

    def _remember(self, shared: Target) -> None:
        try:
            replace_file(self._memory, msgspec.json.encode(shared))
        except OSError as exc:
            log.warning(
                "what all agreed to publish to could not be noted: a start without the database publishes nothing",
                extra={"file": str(self._memory), "reason": str(exc)},
            )


def target_of(settings: Settings) -> Target:
    """What all who share a database must have alike. The kind of a queue is its declaration's to compare."""
    if settings.publish_to == "stream":
        where: Target = {"INGEST_STREAM_PARTITIONS": settings.stream_partitions}
        url = settings.stream_url
    else:
        where = {"broker": "embedded" if settings.broker_url == "embedded:" else "RabbitMQ"}
        url = settings.broker_url
    vhost = unquote(urlsplit(each_host(url)[0]).path[1:]) or "/"
    return {
        "INGEST_PUBLISH_TO": settings.publish_to,
        "INGEST_QUEUE": settings.queue,
        "virtual host": vhost,
        **where,
    }


def same_target(one: Target, other: Target) -> bool:
    """As far as both know the settings: another version may have more of them."""
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def live_nodes(record: TargetRecord, shared: Target) -> Sequence[str]:
    """The nodes of live workers that have that target."""
    return sorted({member.node for member in record.workers if member.live and same_target(member.target, shared)})


def explain_difference(own: Target, shared: Target, who: str) -> str:
    """For people: what differs, who has what, and what to do."""
    names = [name for name in own if name in shared and own[name] != shared[name]]
    return (
        f"This node has {text_of({name: own[name] for name in names})}, but the database's record says "
        f"{text_of({name: shared[name] for name in names})}: {who}. This node stores events and publishes none. Give "
        "it the same settings; or, to switch, stop all nodes, let outbox and spools drain, start them, or run "
        "`ingest cluster switch`."
    )


def text_of(target: Target) -> str:
    return " ".join(f"{name}={value}" for name, value in target.items())


def _remembered(memory: Path) -> Target | None:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, str | int])
    except (OSError, msgspec.MsgspecError):
        return None
