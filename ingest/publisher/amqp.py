"""The publisher on RabbitMQ's queues, through aio-pika: a pool of confirming channels."""

import asyncio
from collections.abc import Awaitable, Sequence

from ingest.batches import Batch
from ingest.errors import NotConfirmed
from ingest.hosts import Rota, each_host
from ingest.links import UNHEARD, Link
from ingest.publisher.amqp_connection import AmqpConnection
from ingest.publisher.amqp_queue import QueueDeclaration
from ingest.publisher.base import Lane
from ingest.publisher.confirms import Pending
from ingest.publisher.supervisor import SupervisedPublisher

TRIES_MAX = 3
TRY_PAUSE_SECONDS = 0.1
"""A refused message is sent again this often, a little later each time, before the relay has it."""


class AmqpPublisher(SupervisedPublisher[AmqpConnection]):
    """See `ingest.publisher.base.Publisher`."""

    def __init__(
        self,
        url: str,
        declaration: QueueDeclaration,
        link: Link = UNHEARD,
        *,
        channels_max: int,
        confirm_timeout_seconds: float,
        connect_timeout_seconds: float,
        reconnect_seconds_max: float,
    ) -> None:
        hosts = Rota(each_host(url))

        def connect(to: str) -> Awaitable[AmqpConnection]:
            return AmqpConnection.open(to, declaration, channels_max, connect_timeout_seconds)

        super().__init__(lambda: hosts.connected(connect), reconnect_seconds_max, link)
        self._link = link
        self._confirm_timeout_seconds = confirm_timeout_seconds

    async def publish(self, batch: Batch, lane: Lane = "live") -> None:
        connection = self._supervisor.connection()
        async with connection.confirming(self._confirm_timeout_seconds):
            await self._publish(connection, batch, lane)

    async def _publish(self, connection: AmqpConnection, batch: Batch, lane: Lane) -> None:
        positions: Sequence[int] = range(len(batch))
        rest = batch
        for attempt in range(TRIES_MAX):
            if attempt:
                await asyncio.sleep(TRY_PAUSE_SECONDS * 2 ** (attempt - 1))
                rest = batch.picked(positions)
                self._link.retried(len(rest))
            pending = await connection.channel(lane).write(rest)
            await pending.done
            positions = _untaken(pending, positions)
            if not positions:
                return
            if pending.returned:
                await connection.declare_again()
        raise NotConfirmed(f"RabbitMQ refused {len(positions)} of {len(batch)} messages.", positions)


def _untaken(pending: Pending, positions: Sequence[int]) -> Sequence[int]:
    """Which of the batch's `positions`, all of which were written, the broker did not take."""
    if not pending.refused and not pending.returned:
        return ()
    return [positions[index] for index in sorted(pending.refused | pending.returned)]
