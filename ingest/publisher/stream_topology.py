"""Declares the stream, or the super stream: its partitions, its exchange and their bindings. What is there is used."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import aio_pika
import msgspec
from rstream import exceptions
from rstream.client import Client

from ingest.errors import BrokerUnavailable
from ingest.events import Event
from ingest.hosts import Rota, each_host
from ingest.publisher.partitions import partition_names, partition_of

USED_AS_IT_IS = (exceptions.StreamAlreadyExists, exceptions.PreconditionFailed, exceptions.AccessRefused)
"""What is there with arguments of its own, or is not ours to make."""
SUPER_STREAM_COMMAND_SINCE = (3, 13)
"""Before it RabbitMQ makes the exchange and its bindings over AMQP only."""


class StreamTopology(msgspec.Struct, frozen=True):
    """`name`, in so many partitions; the limits are each partition's, 0 is none.

    RabbitMQ drops whole segments, the oldest first, once a stream is older or larger.
    """

    name: str
    partitions: int = 1
    age_seconds_max: int = 0
    bytes_max: int = 0
    amqp_url: str | None = None
    """Where the exchange is declared with a RabbitMQ before 3.13."""

    @property
    def streams(self) -> Sequence[str]:
        return partition_names(self.name, self.partitions)

    def stream_of(self, event: Event) -> str:
        """All events of a call are in one."""
        streams = self.streams
        return streams[0] if len(streams) == 1 else streams[partition_of(event.call_id, len(streams))]

    @property
    def arguments(self) -> Mapping[str, str]:
        """Of each stream."""
        arguments = {}
        if self.age_seconds_max:
            arguments["max-age"] = f"{self.age_seconds_max}s"
        if self.bytes_max:
            arguments["max-length-bytes"] = str(self.bytes_max)
        return arguments

    async def declare(self, client: Client) -> None:
        """Raises `BrokerUnavailable` or one of `stream_address.ERRORS`; the caller bounds the time."""
        by_command = _version(client) >= SUPER_STREAM_COMMAND_SINCE
        if self.partitions > 1 and by_command:
            keys = [str(number) for number in range(self.partitions)]
            with suppress(*USED_AS_IT_IS):
                await client.create_super_stream(self.name, list(self.streams), keys, dict(self.arguments))
        for stream in self.streams:
            with suppress(*USED_AS_IT_IS):
                await client.create_stream(stream, dict(self.arguments))
        if self.partitions > 1 and not by_command:
            await self._bind_by_amqp()

    async def _bind_by_amqp(self) -> None:
        if self.amqp_url is None:
            raise BrokerUnavailable(
                "INGEST_STREAM_PARTITIONS above 1 needs INGEST_BROKER_URL, too, with a RabbitMQ before 3.13: "
                "the super stream's exchange is declared there."
            )
        try:
            hosts = Rota(each_host(self.amqp_url))
            async with await hosts.connected(aio_pika.connect) as connection, connection.channel() as channel:
                exchange = await channel.declare_exchange(
                    self.name, "direct", durable=True, arguments={"x-super-stream": True}
                )
                for number, stream in enumerate(self.streams):
                    queue = await channel.get_queue(stream)
                    await queue.bind(exchange, str(number), arguments={"x-stream-partition-order": number})
        except aio_pika.exceptions.AMQPError as exc:
            raise BrokerUnavailable(f"The super stream {self.name!r} cannot be declared: {exc}") from exc


def _version(client: Client) -> tuple[int, ...]:
    text = str((client.server_properties or {}).get("version", "0"))
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
