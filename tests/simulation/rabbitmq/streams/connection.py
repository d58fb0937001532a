"""The server's side of one connection of the stream protocol."""

import asyncio
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
    Splitter,
    Subscribe,
    confirm,
    read,
    response,
)
from tests.simulation.rabbitmq.streams.log import Chunk, Stream

if TYPE_CHECKING:
    from tests.simulation.rabbitmq.broker import Broker

OK, NO_STREAM, STREAM_EXISTS, NOT_AVAILABLE, PRECONDITION_FAILED, NO_PUBLISHER = 1, 2, 5, 6, 17, 18
FRAME_BYTES_MAX = 1 << 20
HEARTBEAT_SECONDS = 60
FIRST, LAST = 1, 2
FILTERS_SINCE = (3, 13)
MISSED_MAX = 2
NOBODY = 65_535


class Subscription:
    """`place` is the next chunk to send. `credit` is how many the client still wants."""

    def __init__(self, stream: Stream, place: int, credit: int) -> None:
        self.stream = stream
        self.place = place
        self.credit = credit


class StreamConnection:
    """Implements `Handler`. The broker treats it like a connection of AMQP."""

    def __init__(self, broker: "Broker", endpoint: Endpoint) -> None:
        self.broker = broker
        self.endpoint = endpoint
        self.is_over = False
        self._splitter = Splitter()
        self._publishers: dict[int, tuple[str, str]] = {}
        """Number → the producer's name and the stream."""
        self._subscriptions: dict[int, Subscription] = {}
        self._heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        try:
            for frame in self._splitter.frames(data):
                if not self.is_over:
                    self._take(read(frame))
        except Exception as exc:
            self.broker.defect = self.broker.defect or exc
            self.reset()

    def connection_lost(self) -> None:
        self._end()

    def send(self, data: bytes) -> None:
        if not self.is_over:
            self.endpoint.send(data)

    def close(self, code: int, text: str) -> None:
        self.send(encode_frame(schema.Close(0, OK, text)))
        self.end()

    def end(self) -> None:
        if not self.is_over:
            self.endpoint.close()
            self._end()

    def reset(self) -> None:
        self.endpoint.reset()
        self._end()

    def thaw(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self.endpoint.resume_reading()

    def unblock(self) -> None:
        """Streams know no alarm."""

    def stream_is_gone(self, stream: str) -> None:
        """Tell the client, if it uses the stream."""
        if any(one[1] == stream for one in self._publishers.values()):
            self._publishers = {number: one for number, one in self._publishers.items() if one[1] != stream}
            self.send(encode_frame(schema.MetadataUpdate(schema.MetadataInfo(NOT_AVAILABLE, stream))))
        for number in [one for one, found in self._subscriptions.items() if found.stream.name == stream]:
            del self._subscriptions[number]

    def written(self, stream: Stream) -> None:
        """Send new chunks to those who read the stream."""
        for number, subscription in self._subscriptions.items():
            if subscription.stream is stream:
                self._deliver(number, subscription)

    def _end(self) -> None:
        self.is_over = True
        self._subscriptions.clear()
        self.broker.forget(self)

    def _take(self, frame: Any) -> None:
        made = _FRAMES.get(type(frame))
        if made is None:
            raise AssertionError(f"the model knows no {type(frame).__name__}")
        made(self, frame)

    # Connecting

    def _peer_properties(self, frame: schema.PeerProperties) -> None:
        properties = [schema.Property("product", "RabbitMQ"), schema.Property("version", self.broker.version)]
        self.send(response(schema.PeerPropertiesResponse(frame.correlation_id, OK, properties)))

    def _handshake(self, frame: schema.SaslHandshake) -> None:
        self.send(response(schema.SaslHandshakeResponse(frame.correlation_id, OK, ["PLAIN", "AMQPLAIN"])))

    def _authenticate(self, frame: schema.SaslAuthenticate) -> None:
        self.send(response(schema.SaslAuthenticateResponse(frame.correlation_id, OK)))
        self.send(encode_frame(schema.Tune(FRAME_BYTES_MAX, HEARTBEAT_SECONDS)))

    def _tune(self, frame: schema.Tune) -> None:
        if frame.heartbeat:
            self._beat_later(float(frame.heartbeat))

    def _open(self, frame: schema.Open) -> None:
        self.send(response(schema.OpenResponse(frame.correlation_id, OK, [])))

    def _close(self, frame: schema.Close) -> None:
        self.send(response(schema.CloseResponse(frame.correlation_id, OK)))
        self.end()

    def _heartbeat(self, frame: schema.Heartbeat) -> None:
        """It was noted that the client lives."""

    def _beat_later(self, seconds: float) -> None:
        def beat() -> None:
            if self.is_over:
                return
            if asyncio.get_running_loop().time() - self._heard_at > MISSED_MAX * seconds:
                self.reset()
                return
            self.send(encode_frame(schema.Heartbeat()))
            self._beat_later(seconds)

        self.broker.later(seconds, beat)

    def _versions(self, frame: schema.ExchangeCommandVersionRequest) -> None:
        version = tuple(int(part) for part in self.broker.version.split(".")[:2])
        most = 2 if version >= FILTERS_SINCE else 1
        found = [schema.FrameHandlerInfo(one.key_command, 1, most) for one in frame.command_versions]
        self.send(response(schema.ExchangeCommandVersionResponse(frame.correlation_id, OK, found)))

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
            if fault is None:
                self._confirm_later(frame.publisher, ids, chunk, stream)
            return
        chunk = stream.append(name, frame.messages[: fault.at], self.broker.now_ms())
        if fault.kind in ("nack", "close channel"):
            self._refuse(frame.publisher, ids, NOT_AVAILABLE)
        elif fault.kind == "lost":
            self.reset()
        else:
            self.close(OK, "the broker closes it")

    def _refuse(self, publisher: int, ids: Sequence[int], code: int) -> None:
        errors = [schema.PublishingError(one, code) for one in ids]
        self.send(encode_frame(schema.PublishError(publisher, errors)))

    def _confirm_later(self, publisher: int, ids: Sequence[int], chunk: Chunk | None, stream: Stream) -> None:
        least, most = self.broker.rates.confirm_seconds
        seconds = self.broker.chance.seconds("rabbitmq: time to confirm", least, most) if most else 0.0

        def confirm_now() -> None:
            if chunk is not None:
                chunk.is_safe = True
                self.broker.stream_written(stream)
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


_FRAMES: dict[type, Callable[[StreamConnection, Any], None]] = {
    schema.PeerProperties: StreamConnection._peer_properties,
    schema.SaslHandshake: StreamConnection._handshake,
    schema.SaslAuthenticate: StreamConnection._authenticate,
    schema.Tune: StreamConnection._tune,
    schema.Open: StreamConnection._open,
    schema.Close: StreamConnection._close,
    schema.Heartbeat: StreamConnection._heartbeat,
    schema.ExchangeCommandVersionRequest: StreamConnection._versions,
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
