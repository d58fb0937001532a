"""The server's side of a connection of the stream protocol, without the streams: it begins, lives and ends."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rstream import schema
from rstream.encoding import encode_frame

from tests.simulation.rabbitmq.network import Endpoint
from tests.simulation.rabbitmq.streams.frames import Splitter, response

if TYPE_CHECKING:
    from tests.simulation.rabbitmq.broker import Broker

OK = 1
FRAME_BYTES_MAX = 1 << 20
HEARTBEAT_SECONDS = 60
FILTERS_SINCE = (3, 13)
MISSED_MAX = 2


class StreamPeer:
    """Implements `Handler`. The broker treats it like a connection of AMQP."""

    def __init__(self, broker: "Broker", endpoint: Endpoint) -> None:
        self.broker = broker
        self.endpoint = endpoint
        self.is_over = False
        self._splitter = Splitter()
        self._heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        try:
            for frame in self._splitter.frames(data):
                if not self.is_over:
                    self._take(frame)
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

    def _end(self) -> None:
        self.is_over = True
        self.broker.forget(self)

    def _take(self, frame: bytes) -> None:
        raise NotImplementedError

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


CONNECTING: dict[type, Callable[[Any, Any], None]] = {
    schema.PeerProperties: StreamPeer._peer_properties,
    schema.SaslHandshake: StreamPeer._handshake,
    schema.SaslAuthenticate: StreamPeer._authenticate,
    schema.Tune: StreamPeer._tune,
    schema.Open: StreamPeer._open,
    schema.Close: StreamPeer._close,
    schema.Heartbeat: StreamPeer._heartbeat,
    schema.ExchangeCommandVersionRequest: StreamPeer._versions,
}
