"""The publisher on a RabbitMQ stream, through rstream."""

from ingest.batches import Batch
from ingest.errors import NotConfirmed
from ingest.links import UNHEARD, Link
from ingest.publisher.base import Lane
from ingest.publisher.stream_address import StreamAddress
from ingest.publisher.stream_connection import StreamConnection
from ingest.publisher.supervisor import SupervisedPublisher


class StreamPublisher(SupervisedPublisher[StreamConnection]):
    """See `ingest.publisher.base.Publisher`. At least once: what is published again is there twice."""

    def __init__(
        self,
        url: str,
        stream: str,
        link: Link = UNHEARD,
        *,
        confirm_timeout_seconds: float,
        connect_timeout_seconds: float,
        reconnect_seconds_max: float,
    ) -> None:
        address = StreamAddress.parse(url)
        super().__init__(
            lambda: StreamConnection.open(address, stream, connect_timeout_seconds), reconnect_seconds_max, link
        )
        self._confirm_timeout_seconds = confirm_timeout_seconds

    async def publish(self, batch: Batch, lane: Lane = "live") -> None:
        """Both lanes share the one connection: a batch holds the next one up only while it is written."""
        connection = self._supervisor.connection()
        async with connection.confirming(self._confirm_timeout_seconds):
            pending = await connection.write(batch)
            await pending.done
        if pending.refused:
            raise NotConfirmed(
                f"RabbitMQ's stream refused {len(pending.refused)} of {len(batch)} messages.", sorted(pending.refused)
            )
