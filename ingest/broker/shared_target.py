"""Makes all workers of a database publish to one target, the same queue or stream.

The database records the shared target (`ingest.broker.target_record`). A worker with another target stores its events
and publishes none. They wait in the outbox for the other workers, or until the shared target is switched, as
docs/operations.md describes. SQLite has no such record, because only one node uses it.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import msgspec

from ingest.broker.target_record import (
    LIVE_SECONDS,
    Target,
    TargetRecord,
    TargetTable,
    explain_difference,
    live_nodes,
    same_target,
    target_text,
)
from ingest.clock import Monotonic
from ingest.errors import StoreError
from ingest.files.atomic import replace_file
from ingest.ticks import pause

log = logging.getLogger("ingest.agreement")

LOOK_SECONDS = 5.0
FIRST_LOOK_SECONDS_MAX = 1.0
UNKNOWN = "This worker publishes nothing yet: it could not read the shared target from the database."


class SharedTarget:
    """One worker's view of the shared target. `table` is None if the database has no record.

    `memory` is a file of the data folder that keeps the shared target for a start without the database.
    """

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
        """As last read from the database, or from `memory` after a restart."""
        self._reason = UNKNOWN
        self._looked = asyncio.Event()
        self._unused_since: float | None = None
        """Since this time no live worker with the shared target was seen, which this worker would replace."""
        if table:
            self._shared = _remembered(memory)
        else:
            self._looked.set()

    @property
    def differs(self) -> bool:
        return self._shared is None or not same_target(self._shared, self._target)

    def problem(self) -> str | None:
        """Return why this worker must not publish, or None."""
        return self._reason if self._table and self.differs else None

    async def look(self) -> None:
        """Read the record once, and replace the shared target if allowed. Raises `StoreError`."""
        if not self._table:
            return
        shared = await self._table.share(self._worker, self._node, self._target, self._replaces)
        if shared != self._shared:
            self._shared = shared
            self._log_change(shared)
            self._remember(shared)

    async def run(self) -> None:
        """Read the record regularly until cancelled."""
        while self._table:
            try:
                await self.look()
            except StoreError as exc:
                log.debug("the shared target could not be read", extra={"reason": str(exc)})
            self._looked.set()
            await pause(LOOK_SECONDS)

    async def wait_for_first_look(self) -> None:
        """Wait until the record was read once, but only briefly.

        Events accepted before that would wait in the outbox, and would look there like those of another target.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS_MAX):
                await self._looked.wait()

    async def leave(self) -> None:
        """Leave the record after the last publish. Never raises: the other workers also notice by time."""
        if self._table:
            try:
                await self._table.leave(self._worker)
            except StoreError as exc:
                log.debug("this worker could not leave the record of the shared target", extra={"reason": str(exc)})

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
            self._unused_since = None
            return explain_difference(self._target, shared, f"live nodes with it: {', '.join(live)}")
        self._unused_since = now if self._unused_since is None else self._unused_since
        if holders and now - self._unused_since < LIVE_SECONDS:
            return explain_difference(self._target, shared, f"waiting {LIVE_SECONDS:g} s for live workers with it")
        if record.waiting:
            return explain_difference(self._target, shared, "no live worker has it, but events wait in the outbox")
        return None

    def _log_change(self, shared: Target) -> None:
        if same_target(shared, self._target):
            log.info("publishing to the shared target", extra={"target": target_text(shared)})
        else:
            log.error("this worker publishes nothing", extra={"reason": self._reason})

    def _remember(self, shared: Target) -> None:
        try:
            replace_file(self._memory, msgspec.json.encode(shared))
        except OSError as exc:
            log.warning(
                "the shared target could not be saved: a start without the database publishes nothing",
                extra={"file": str(self._memory), "reason": str(exc)},
            )


def _remembered(memory: Path) -> Target | None:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, str | int])
    except (OSError, msgspec.MsgspecError):
        return None
