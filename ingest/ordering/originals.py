"""Events that were sent again: their clients are answered once the stream has the originals.

Another worker may have committed the original, and may be dead. Its relay publishes the event when the lease is over.
A client that is answered before that may send the next event of the call, which would overtake it.
"""

import asyncio
import logging
from collections.abc import Set

from ingest.errors import StoreError
from ingest.ordering.base import OrderedStore
from ingest.ordering.commit_queue import PendingBatch
from ingest.tasks import Background

log = logging.getLogger("ingest.dispatcher")

PATIENCE_SECONDS = 0.25
"""A live worker publishes the original within this time, or enters relay mode itself."""
PAUSE_SECONDS = 0.05


class Originals:
    """Holds back the answers to repeated events. It asks the database for their originals, and publishes nothing."""

    def __init__(self, store: OrderedStore, lease_seconds: float, background: Background) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._background = background

    def wait_for(self, pending: PendingBatch) -> None:
        """Hold back the answer until the stream has the batch's originals, or will have them before later events."""
        task = self._background.start(self._published(frozenset(pending.originals)), "order-originals")
        task.add_done_callback(lambda _: _acknowledge(pending))

    async def _published(self, event_ids: Set[int]) -> None:
        """If the database does not answer in time, nothing is known, and the clients are answered all the same."""
        clock = asyncio.get_running_loop().time
        until = clock() + PATIENCE_SECONDS
        while True:
            patient = clock() < until
            try:
                entries = await self._store.unpublished(event_ids)
                if entries and not patient:
                    await self._store.enter_relay_mode(entries, [], self._lease_seconds)
                if not (entries and patient):
                    return
            except StoreError as exc:
                log.debug("the originals of repeated events are not known", extra={"reason": str(exc)})
                if not patient:
                    return
            await asyncio.sleep(PAUSE_SECONDS)


def _acknowledge(pending: PendingBatch) -> None:
    pending.originals.clear()
    pending.answer_if_acknowledged()
