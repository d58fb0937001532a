"""Connects to a stream, or to the partitions of a super stream: one connection to each node that leads one."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from rstream.exceptions import StreamDoesNotExist

from ingest.broker.stream.address import ERRORS, HEARTBEAT_SECONDS, LeaderUnreachable, StreamAddress
from ingest.broker.stream.message import encode_batch
from ingest.broker.stream.node import DeclaredProducer, Publication, StreamNode
from ingest.broker.stream.partitions import partition_of
from ingest.broker.stream.topology import StreamTopology
from ingest.broker.stream.wire import FILTER_BYTES_MAX, Filters, Message, filter_field
from ingest.broker.supervisor import Connection, text_of
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch
from ingest.events.routing_key import Value
from ingest.tasks import all_of

log = logging.getLogger("ingest.publisher")

Written = tuple[Publication, Sequence[int]]
"""The publication that waits for confirms, and the ids of messages that are too large for the broker."""


class StreamConnection(Connection):
    """It is lost as a whole, with the connection to one node or the leader of one partition."""

    def __init__(
        self,
        address: StreamAddress,
        topology: StreamTopology,
        timeout_seconds: float,
        look_seconds: float,
        filter_value: Value | None,
    ) -> None:
        super().__init__()
        self._filter_value = filter_value
        self._address = address
        self._topology = topology
        self._timeout_seconds = timeout_seconds
        self._look_seconds = look_seconds
        self._nodes: dict[tuple[str, int], StreamNode] = {}
        self._leaders: Mapping[str, StreamNode] = {}
        self._approached: tuple[str, int] | None = None
        """The address of a leader to which this connects at the moment, as RabbitMQ names it."""
        self._order = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        address: StreamAddress,
        topology: StreamTopology,
        timeout_seconds: float,
        look_seconds: float = HEARTBEAT_SECONDS,
        filter_value: Value | None = None,
    ) -> "StreamConnection":
        """Connect and declare. Each message gets its event's `filter_value`, if the broker has filters.

        Raises one of `ERRORS` or `BrokerUnavailable`.
        """
        connection = cls(address, topology, timeout_seconds, look_seconds, filter_value)
        try:
            async with asyncio.timeout(timeout_seconds):
                await connection._open()
        except BaseException as exc:
            connection.drop(text_of(exc))
            await connection.close()
            if connection._approached and isinstance(exc, OSError):  # a TimeoutError is one
                raise LeaderUnreachable(*connection._approached, exc) from exc
            raise
        return connection

    async def _open(self) -> None:
        first = await self._node(self._address.host, self._address.port)
        if self._filter_value and not await first.takes_filters():
            self._filter_value = None
            log.warning("RabbitMQ's streams have no filters before 3.13: INGEST_STREAM_FILTER has no effect")
        await self._topology.declare(first.client)
        leaders = {}
        for stream in self._topology.streams:
            try:
                leader, _ = await first.client.query_leader_and_replicas(stream)
            except StreamDoesNotExist as exc:
                raise BrokerUnavailable(
                    f"There is no stream {stream!r}: a queue may have its name, or the user may not declare it."
                ) from exc
            self._approached = (leader.host, leader.port)
            leaders[stream] = await self._node(leader.host, leader.port)
            self._approached = None
            await leaders[stream].declare(stream, "")  # fails at once if the user may not publish
        self._leaders = leaders

    async def _node(self, host: str, port: int) -> StreamNode:
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes[host, port] = await StreamNode.open(self._address, host, port, self.drop)
        return node

    def address_of(self, stream: str) -> StreamAddress:
        """Return the address of the node that leads the stream."""
        client = self._leaders[stream].client
        return msgspec.structs.replace(self._address, host=client.host, port=client.port)

    def drop(self, reason: str) -> None:
        super().drop(reason)
        for node in self._nodes.values():
            node.fail(reason)

    async def write(self, batch: Batch, producer_name: str) -> Written:
        """Send the batch in as few frames as the broker's limit allows. Calls keep their order.

        The events' ids are the publishing ids. Waits while a socket is full, so callers need a deadline. Raises
        `BrokerUnavailable` if the connection is lost.
        """
        async with self._order:
            self._check()
            try:
                return await self._write(batch, producer_name)
            except asyncio.CancelledError:
                self.drop("A write to RabbitMQ's stream was cancelled.")  # a part of a frame may be sent already
                raise
            except ERRORS as exc:
                reason = f"Writing to RabbitMQ's stream failed: {text_of(exc)}"
                self.drop(reason)
                raise BrokerUnavailable(reason) from exc

    async def _write(self, batch: Batch, producer_name: str) -> Written:
        filters = self._filters(batch)
        large: list[int] = []
        sendings: list[tuple[StreamNode, DeclaredProducer, Sequence[Message]]] = []
        for stream, messages in self._parted(batch):
            node = self._leaders[stream]
            producer = await node.declare(stream, producer_name)
            while earlier := producer.overlapping(publishing_id for publishing_id, _ in messages):
                # The other priority publishes the same ids: an answer must belong to one call.
                await asyncio.wait([earlier.done])
                self._check()
            large += self._too_large(messages, node.message_bytes_max - (FILTER_BYTES_MAX if filters else 0))
            sendings.append((node, producer, [message for message in messages if message[0] not in large]))
        publication = Publication(sum(len(messages) for _, _, messages in sendings))
        publication.answered(0)  # there is nothing to wait for if all are too large
        try:
            for node, producer, messages in sendings:
                if messages:
                    producer.expect([publishing_id for publishing_id, _ in messages], publication)
                    await node.send(producer, messages, filters)
            self._check()
        except BaseException:
            publication.done.cancel()  # nothing will wait for it
            raise
        return publication, large

    def _filters(self, batch: Batch) -> Filters | None:
        value = self._filter_value
        if value is None:
            return None
        return {event_id: filter_field(value(event)) for event_id, event in zip(batch.ids, batch.events, strict=True)}

    def _parted(self, batch: Batch) -> Iterator[tuple[str, Sequence[Message]]]:
        """Yield each stream with its messages of the batch."""
        streams = self._topology.streams
        messages = list(zip(batch.ids, encode_batch(batch), strict=True))
        if len(streams) == 1:
            yield streams[0], messages
            return
        parts: dict[int, list[Message]] = defaultdict(list)
        for event, message in zip(batch.events, messages, strict=True):
            parts[partition_of(event.call_id, len(streams))].append(message)
        for number, part in sorted(parts.items()):
            yield streams[number], part

    def _too_large(self, messages: Sequence[Message], message_bytes_max: int) -> Iterator[int]:
        """Yield the ids of too large messages. RabbitMQ 4 would close the connection for a frame above its limit."""
        for event_id, message in messages:
            if len(message) > message_bytes_max:
                log.error(
                    "a message is larger than the limit of a frame in RabbitMQ (its setting stream.frame_max)",
                    extra={"message_id": event_id, "bytes": len(message)},
                )
                yield event_id

    def _check(self) -> None:
        if self.problem is not None:
            raise BrokerUnavailable(self.problem)

    async def sequences(self, producer_name: str) -> Mapping[str, int]:
        """Return each stream's highest publishing id of this producer, or 0. Raises `BrokerUnavailable`."""
        self._check()
        asked = (node.client.query_publisher_sequence(stream, producer_name) for stream, node in self._leaders.items())
        try:
            return dict(zip(self._leaders, await all_of(asked), strict=True))
        except ERRORS as exc:
            raise BrokerUnavailable(text_of(exc)) from exc

    async def until_lost(self) -> None:
        """Also check the connection regularly: rstream only logs missing heartbeats, and nothing reports a binding."""
        while self.problem is None:
            try:
                async with asyncio.timeout(self._look_seconds):
                    await super().until_lost()
            except TimeoutError:
                await self._try_it()

    async def _try_it(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for stream, node in self._leaders.items():
                    if not await node.answers(stream):
                        self.drop("RabbitMQ's stream is gone.")
                if missing := await self._topology.missing(next(iter(self._leaders.values())).client):
                    self.drop(self._topology.problem(missing))
        except ERRORS as exc:
            self.drop(f"RabbitMQ does not answer: {text_of(exc)}")

    async def close(self) -> None:
        broken = self.problem is not None
        self.drop("The connection to RabbitMQ is closed.")
        await asyncio.gather(*(node.end(self._timeout_seconds, broken=broken) for node in self._nodes.values()))
