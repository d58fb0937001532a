"""Declares the stream, or the super stream with its partitions, exchange and bindings. Existing ones are used."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress

import aio_pika
import msgspec
from rstream import exceptions
from rstream.client import Client

from ingest.broker.stream.address import ERRORS, LeaderUnreachable, StreamAddress
from ingest.broker.stream.node import StreamNode, version_of
from ingest.broker.stream.partitions import partition_names, partition_of
from ingest.broker.supervisor import text_of
from ingest.errors import BrokerUnavailable, StoreError
from ingest.events.event import Event
from ingest.failover import FailoverHosts, each_host
from ingest.files.exclusive_lock import ExclusiveLock

USED_AS_IT_IS = (exceptions.StreamAlreadyExists, exceptions.PreconditionFailed, exceptions.AccessRefused)
"""The stream exists with other arguments, or the user may not declare it."""
SUPER_STREAM_COMMAND_SINCE = (3, 13)
"""Earlier versions create the exchange and its bindings over AMQP only."""


class StreamTopology(msgspec.Struct, frozen=True):
    """The stream `name`, or a super stream of several partitions. The limits apply to each partition; 0 is none.

    RabbitMQ drops whole segments, the oldest first, once a stream is older or larger.
    """

    name: str
    partitions: int = 1
    age_seconds_max: int = 0
    bytes_max: int = 0
    amqp_url: str | None = None
    """For bindings that the stream protocol cannot make. Before RabbitMQ 3.13 these are all bindings."""
    exclusively: ExclusiveLock = nullcontext
    """Lets one worker at a time create a super stream.

    RabbitMQ undoes a half-created super stream when it finds that another client creates the same one.
    """

    @property
    def streams(self) -> Sequence[str]:
        return partition_names(self.name, self.partitions)

    def stream_of(self, event: Event) -> str:
        """Return the stream for the event. All events of a call have the same one."""
        streams = self.streams
        return streams[0] if len(streams) == 1 else streams[partition_of(event.call_id, len(streams))]

    @property
    def arguments(self) -> Mapping[str, str]:
        """The arguments of each stream."""
        arguments = {}
        if self.age_seconds_max:
            arguments["max-age"] = f"{self.age_seconds_max}s"
        if self.bytes_max:
            arguments["max-length-bytes"] = str(self.bytes_max)
        return arguments

    async def missing(self, client: Client) -> Sequence[str]:
        """Return the partitions that the broker does not list, so that consumers of the super stream miss them.

        A plain stream has none. Raises one of `ingest.broker.stream.address.ERRORS`.
        """
        if self.partitions == 1:
            return []
        listed = await client.partitions(self.name)
        return [stream for stream in self.streams if stream not in listed]

    async def declare(self, client: Client) -> None:
        """Create what is missing, and return once the broker lists all of it. The caller limits the time.

        Raises `BrokerUnavailable` or one of `ingest.broker.stream.address.ERRORS`.
        """
        if self.partitions == 1:
            await self._make_streams(client)
        elif await self.missing(client):
            try:
                async with self.exclusively():
                    await self._complete(client)
            except StoreError as exc:
                raise BrokerUnavailable(f"The super stream {self.name!r} is not declared yet: {exc}") from exc

    async def _complete(self, client: Client) -> None:
        """Bind partitions over AMQP that the broker still does not list: the stream protocol cannot bind one."""
        if version_of(client) >= SUPER_STREAM_COMMAND_SINCE:
            keys = [str(number) for number in range(self.partitions)]
            with suppress(*USED_AS_IT_IS):
                await client.create_super_stream(self.name, list(self.streams), keys, dict(self.arguments))
        if await self.missing(client):
            await self._make_streams(client)
            await self._bind_by_amqp(await self.missing(client))
        if missing := await self.missing(client):
            raise BrokerUnavailable(self.problem(missing))

    def problem(self, missing: Sequence[str]) -> str:
        """Say what is wrong with a super stream that lacks these partitions."""
        return (
            f"Consumers of the super stream {self.name!r} do not find {', '.join(missing)}: RabbitMQ has no such "
            "stream bound to its exchange. Nothing is published until it has; events wait in the database."
        )

    async def _make_streams(self, client: Client) -> None:
        for stream in self.streams:
            with suppress(*USED_AS_IT_IS):
                await client.create_stream(stream, dict(self.arguments))

    async def _bind_by_amqp(self, streams: Sequence[str]) -> None:
        if self.amqp_url is None:
            raise BrokerUnavailable(
                f"{self.problem(streams)} To let the service bind them over AMQP, set INGEST_BROKER_URL, too: "
                "INGEST_STREAM_PARTITIONS above 1 needs INGEST_BROKER_URL with a RabbitMQ before 3.13, and with any "
                "RabbitMQ that has some of the streams already."
            )
        try:
            hosts = FailoverHosts(each_host(self.amqp_url))
            async with await hosts.connected(aio_pika.connect) as connection, connection.channel() as channel:
                exchange = await channel.declare_exchange(
                    self.name, "direct", durable=True, arguments={"x-super-stream": True}
                )
                for stream in streams:
                    number = self.streams.index(stream)
                    queue = await channel.get_queue(stream)
                    await queue.bind(exchange, str(number), arguments={"x-stream-partition-order": number})
        except aio_pika.exceptions.AMQPError as exc:
            raise BrokerUnavailable(f"The super stream {self.name!r} cannot be declared: {exc}") from exc


class MissingParts(msgspec.Struct, frozen=True):
    """Streams that do not exist, and partitions that are not bound, so that consumers do not find them."""

    absent: Sequence[str]
    unbound: Sequence[str]
    leaders: Sequence[tuple[str, int]] = ()
    """The hosts and ports that the broker names for the streams' leaders. All could be reached."""


async def look_at(url: str, topology: StreamTopology, timeout_seconds: float) -> MissingParts:
    """Find missing parts of the topology, and try to reach the leaders of its streams. Changes nothing.

    Raises `BrokerUnavailable`.
    """

    async def look(address: StreamAddress) -> MissingParts:
        node = await StreamNode.open(address, address.host, address.port, lambda _: None)
        try:
            absent = [stream for stream in topology.streams if not await node.answers(stream)]
            leaders = sorted(await _leaders(node.client, [name for name in topology.streams if name not in absent]))
            for host, port in leaders:
                await _reach(address, host, port, timeout_seconds)
            return MissingParts(absent, await topology.missing(node.client), leaders)
        finally:
            await node.end(timeout_seconds, broken=False)

    try:
        async with asyncio.timeout(2 * timeout_seconds):  # connecting to the URL's host, and to the leaders
            return await FailoverHosts(StreamAddress.parse_each(url)).connected(look)
    except ERRORS as exc:
        raise BrokerUnavailable(text_of(exc)) from exc


async def _leaders(client: Client, streams: Sequence[str]) -> set[tuple[str, int]]:
    found = [await client.query_leader_and_replicas(stream) for stream in streams]
    return {(leader.host, leader.port) for leader, _ in found}


async def _reach(address: StreamAddress, host: str, port: int, timeout_seconds: float) -> None:
    """Raises `LeaderUnreachable`."""
    try:
        async with asyncio.timeout(timeout_seconds):
            leader = await StreamNode.open(address, host, port, lambda _: None)
    except OSError as exc:
        raise LeaderUnreachable(host, port, exc) from exc
    await leader.end(timeout_seconds, broken=False)
