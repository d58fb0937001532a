"""The way back of a worker that defers its batches, until it may publish by itself again."""

import asyncio
import logging
from collections.abc import Callable

from ingest.broker.base import Publisher
from ingest.errors import PublishError, StoreError
from ingest.ordering.decisions import PendingDecisions
from ingest.ordering.deferred import DeferredBatches
from ingest.tasks import Background
from ingest.telemetry.metrics import Metrics

log = logging.getLogger("ingest.dispatcher")

PATIENCE_SECONDS = 0.25
"""A client that waits longer for the stream is answered without it: clients time out soon after."""
LONG_PATIENCE_SECONDS = 1.75
"""The patience of a worker that has just begun to defer spooled events. If the database is away, too, it cannot tell
other workers that newer events must wait. A stalled disk recovers soon. Clients of a long outage wait less."""
PAUSE_SECONDS = 0.05
OLDER_FIRST = "older events are to be published first"


class Recovery:
    """Publishes from the spool beside the notices: clients wait for a notice, and a publish may take long."""

    def __init__(
        self,
        publisher: Publisher,
        deferred: DeferredBatches,
        decisions: PendingDecisions,
        background: Background,
        is_idle: Callable[[], bool],
        defer_all: Callable[[str], None],
        metrics: Metrics,
    ) -> None:
        """`is_idle` tells whether no publish from memory is under way. `defer_all` gets the reason of a failure."""
        self._publisher = publisher
        self._deferred = deferred
        self._decisions = decisions
        self._background = background
        self._is_idle = is_idle
        self._defer_all = defer_all
        self._metrics = metrics
        self._publishing: asyncio.Task[None] | None = None
        self._late_at = 0.0

    async def run(self) -> None:
        """Work until no deferred batch needs this worker."""
        while True:
            try:
                await self._step()
                if not self._deferred and not self._publishing and self._is_idle():
                    return
            except (PublishError, StoreError) as exc:
                self._defer_all(str(exc))
            except Exception:
                log.exception("publishing deferred batches failed unexpectedly; it is tried again")
                self._metrics.background_failures.labels("publishing").inc()
                self._defer_all("an unexpected failure")
            if not self._publishing:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _step(self) -> None:
        if await self._deferred.notify():
            self._decisions.raise_barrier()
        if await self._deferred.release_held():
            self._decisions.raise_barrier()
        clock = asyncio.get_running_loop().time
        if not self._publishing and self._deferred.in_spool and self._publisher.ready and self._is_idle():
            self._publishing = self._background.start(self._deferred.publish(), "order-publishing")
            self._late_at = clock() + PATIENCE_SECONDS
        if self._publishing and (await asyncio.wait([self._publishing], timeout=PAUSE_SECONDS))[0]:
            ended, self._publishing = self._publishing, None
            ended.result()
        elif self._deferred.few_left and clock() > self._late_at:
            self._defer_all(OLDER_FIRST)  # new batches wait in memory no longer
