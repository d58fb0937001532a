"""The streams of one connection: declarations, publishers and subscriptions."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rstream import schema
from rstream.encoding import encode_frame

from tests.simulation.rabbitmq.faults import drawn_fault
from tests.simulation.rabbitmq.network import Endpoint
from tests.simulation.rabbitmq.streams.frames import (
    OFFSET,
    TIMESTAMP,
    Publish,
    Subscribe,
    confirm,
    read,
    response,
)
from tests.simulation.rabbitmq.streams.log import Chunk, Stream
from tests.simulation.rabbitmq.streams.peer import CONNECTING, OK, StreamPeer

if TYPE_CHECKING:
    from tests.simulation.rabbitmq.broker import Broker

NO_STREAM, STREAM_EXISTS, NOT_AVAILABLE, PRECONDITION_FAILED, NO_PUBLISHER = 2, 5, 6, 17, 18
FIRST, LAST = 1, 2
NOBODY = 65_535


class Subscription:
    """`place` is the next chunk to send. `credit` is how many the client still wants."""

    def __init__(self, stream: Stream, place: int, credit: int) -> None:
        self.stream = stream
        self.place = place
        self.credit = credit


class StreamConnection(StreamPeer):
    def __init__(self, broker: "Broker", endpoint: Endpoint) -> None:
        super().__init__(broker, endpoint)
        self._publishers: dict[int, tuple[str, str]] = {}
        """Number → the producer's name and the stream."""
        self._subscriptions: dict[int, Subscription] = {}

    def stream_is_gone(self, stream: str) -> None:
        """Tell the client, if it uses the stream."""
        if self._forget_publishers(stream):
            self.send(encode_frame(schema.MetadataUpdate(schema.MetadataInfo(NOT_AVAILABLE, stream))))
        for number in [one for one, found in self._subscriptions.items() if found.stream.name == stream]:
            del self._subscriptions[number]

    def written(self, stream: Stream) -> None:
        """Send new chunks to those who read the stream."""
        for number, subscription in self._subscriptions.items():
            if subscription.stream is stream:
                self._deliver(number, subscription)

    def _end(self) -> None:
        super()._end()
        self._subscriptions.clear()

    def _take(self, frame: bytes) -> None:
        request = read(frame)
        made = _FRAMES.get(type(request))
        if made is None:
            raise AssertionError(f"the model knows no {type(request).__name__}")
        made(self, request)

    # Streams

    def _create(self, frame: schema.Create) -> None:
        there = self.broker.streams.get(frame.stream)
        arguments = {one.key: one.value for one in frame.arguments}
        code = OK
        if frame.stream in self.broker.queues or (there and there.arguments != arguments):
            code = PRECONDITION_FAILED
        elif there:
            code = STREAM_EXISTS
        else:
            self.broker.streams[frame.stream] = Stream(frame.stream, arguments)
        self.send(response(schema.CreateResponse(frame.correlation_id, code)))

    def _delete(self, frame: schema.Delete) -> None:
        code = OK if frame.stream in self.broker.streams else NO_STREAM
        self.broker.delete_stream(frame.stream)
        self.send(response(schema.DeleteResponse(frame.correlation_id, code)))

    def _metadata(self, frame: schema.Metadata) -> None:
        host, port = self.broker.stream_address
        found = [
            schema.StreamMetadata(name, OK, 0, [])
            if name in self.broker.streams
            else schema.StreamMetadata(name, NO_STREAM, NOBODY, [])
            for name in frame.streams
        ]
        brokers = [schema.Broker(0, host, port)]
        self.send(response(schema.MetadataResponse(frame.correlation_id, brokers, found)))

    # Publishing

    def _declare(self, frame: schema.DeclarePublisher) -> None:
        code = OK
        if frame.stream not in self.broker.streams:
            code = NO_STREAM
        elif frame.publisher_id in self._publishers:
            code = PRECONDITION_FAILED
        else:
            self._publishers[frame.publisher_id] = frame.reference, frame.stream
        self.send(response(schema.DeclarePublisherResponse(frame.correlation_id, code)))

    def _delete_publisher(self, frame: schema.DeletePublisher) -> None:
        code = OK if self._publishers.pop(frame.publisher_id, None) else NO_PUBLISHER
        self.send(response(schema.DeletePublisherResponse(frame.correlation_id, code)))

    def _sequence(self, frame: schema.QueryPublisherSequence) -> None:
        stream = self.broker.streams.get(frame.stream)
        newest = stream.sequences.get(frame.publisher_ref, 0) if stream else 0
        code = OK if stream else NO_STREAM
        self.send(response(schema.QueryPublisherSequenceResponse(frame.correlation_id, code, newest)))

    def _publish(self, frame: Publish) -> None:
        name, stream_name = self._publishers.get(frame.publisher, ("", ""))
        stream = self.broker.streams.get(stream_name)
        ids = [publishing_id for publishing_id, _ in frame.messages]
        if stream is None:
            self._refuse(frame.publisher, ids, NO_PUBLISHER)
            return
        fault = drawn_fault(self.broker.chance, self.broker.rates, len(ids))
        if fault is None or fault.kind == "silent":
            chunk = stream.append(name, frame.messages, self.broker.now_ms())
            self._confirm_later(frame.publisher, ids if fault is None else (), chunk, stream)
            return
        if fault.kind in ("nack", "close channel"):  # the stream has no leader: nothing is written from now on
            self._forget_publishers(stream_name)
            self._refuse(frame.publisher, ids, NOT_AVAILABLE)
            return
        chunk = stream.append(name, frame.messages[: fault.at], self.broker.now_ms())
        self._confirm_later(frame.publisher, (), chunk, stream)
        if fault.kind == "lost":
            self.reset()
        else:
            self.close(OK, "the broker closes it")

    def _forget_publishers(self, stream: str) -> bool:
        """Forget all that publish to the stream, as they have one leader. Return True if there were any."""
        before = len(self._publishers)
        self._publishers = {number: one for number, one in self._publishers.items() if one[1] != stream}
        return len(self._publishers) < before

    def _refuse(self, publisher: int, ids: Sequence[int], code: int) -> None:
        errors = [schema.PublishingError(one, code) for one in ids]
        self.send(encode_frame(schema.PublishError(publisher, errors)))

    def _confirm_later(self, publisher: int, ids: Sequence[int], chunk: Chunk | None, stream: Stream) -> None:
        """Make the chunk safe, and confirm these ids. A reader of the stream waits until every chunk is safe."""
        least, most = self.broker.rates.confirm_seconds
        seconds = self.broker.chance.seconds("rabbitmq: time to confirm", least, most) if most else 0.0

        def confirm_now() -> None:
            if chunk is not None:
                chunk.is_safe = True
                self.broker.stream_written(stream)
            if ids:
                self.send(confirm(publisher, ids))

        self.broker.later(seconds, confirm_now)

    # Reading

    def _subscribe(self, frame: Subscribe) -> None:
        stream = self.broker.streams.get(frame.stream)
        code = OK if stream else NO_STREAM
        self.send(response(schema.SubscribeResponse(frame.correlation_id, code)))
        if stream is not None:
            place = _place(stream, frame)
            subscription = self._subscriptions[frame.subscription] = Subscription(stream, place, frame.credit)
            self._deliver(frame.subscription, subscription)

    def _unsubscribe(self, frame: schema.Unsubscribe) -> None:
        self._subscriptions.pop(frame.subscription_id, None)
        self.send(response(schema.UnsubscribeResponse(frame.correlation_id, OK)))

    def _credit(self, frame: schema.Credit) -> None:
        subscription = self._subscriptions.get(frame.subscription_id)
        if subscription is not None:
            subscription.credit += frame.credit
            self._deliver(frame.subscription_id, subscription)

    def _deliver(self, number: int, subscription: Subscription) -> None:
        chunks = subscription.stream.chunks
        while subscription.credit and subscription.place < len(chunks) and chunks[subscription.place].is_safe:
            self.send(chunks[subscription.place].deliver(number))
            subscription.place += 1
            subscription.credit -= 1


def _place(stream: Stream, frame: Subscribe) -> int:
    if frame.offset_type == FIRST:
        return 0
    if frame.offset_type == LAST:
        return max(0, len(stream.chunks) - 1)
    if frame.offset_type == OFFSET:
        return stream.at_offset(frame.value)
    return stream.at_time(frame.value) if frame.offset_type == TIMESTAMP else len(stream.chunks)


_FRAMES: dict[type, Callable[[Any, Any], None]] = {
    **CONNECTING,
    schema.Create: StreamConnection._create,
    schema.Delete: StreamConnection._delete,
    schema.Metadata: StreamConnection._metadata,
    schema.DeclarePublisher: StreamConnection._declare,
    schema.DeletePublisher: StreamConnection._delete_publisher,
    schema.QueryPublisherSequence: StreamConnection._sequence,
    Publish: StreamConnection._publish,
    Subscribe: StreamConnection._subscribe,
    schema.Unsubscribe: StreamConnection._unsubscribe,
    schema.Credit: StreamConnection._credit,
}
