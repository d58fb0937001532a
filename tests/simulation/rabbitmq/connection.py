"""The server's side of one AMQP connection."""

import asyncio
from typing import TYPE_CHECKING, Any

from pamqp import commands

from tests.simulation.rabbitmq.channel import Channel
from tests.simulation.rabbitmq.frames import (
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    PROTOCOL_HEADER,
    PUBLISH,
    Frame,
    Splitter,
    marshalled,
    method_of,
)
from tests.simulation.rabbitmq.network import Endpoint

if TYPE_CHECKING:
    from tests.simulation.rabbitmq.broker import Broker

FRAME_BYTES_MAX = 131_072
HEARTBEAT_SECONDS = 60
MISSED_MAX = 2
"""RabbitMQ closes a connection after this many heartbeats without a frame."""
CAPABILITIES = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class Connection:
    """Implements `Handler`."""

    def __init__(self, broker: "Broker", endpoint: Endpoint) -> None:
        self.broker = broker
        self.endpoint = endpoint
        self.channels: dict[int, Channel] = {}
        self.frame_bytes_max = FRAME_BYTES_MAX
        self.is_closing = False
        """The server has sent `connection.close`, and ignores what comes until its answer."""
        self.is_over = False
        self._is_blocked = False
        self._splitter: Splitter | None = None
        self._heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        try:
            self._receive(data)
        except Exception as exc:
            self.broker.defect = self.broker.defect or exc
            self.reset()

    def connection_lost(self) -> None:
        self._end()

    def send(self, method: Any, channel: int) -> None:
        self.send_bytes(marshalled(method, channel))

    def send_bytes(self, data: bytes) -> None:
        if not self.is_over:
            self.endpoint.send(data)

    def close(self, code: int, text: str, of: tuple[int, int] = (0, 0)) -> None:
        """Close with a reason. Nothing is confirmed any more."""
        if not self.is_closing:
            self.is_closing = True
            self._forget_channels()
            self.send(commands.Connection.Close(code, text, *of), 0)

    def end(self) -> None:
        """End the connection once the client has got all bytes."""
        self.endpoint.close()
        self._end()

    def reset(self) -> None:
        self.endpoint.reset()
        self._end()

    def block(self) -> None:
        """Called after a message, while there is an alarm. The server reads no further then."""
        if not self._is_blocked:
            self._is_blocked = True
            self.send(commands.Connection.Blocked("low on memory"), 0)
            self.endpoint.pause_reading()

    def unblock(self) -> None:
        if self._is_blocked:
            self._is_blocked = False
            self.send(commands.Connection.Unblocked(), 0)
            self.endpoint.resume_reading()

    def thaw(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if not self._is_blocked:
            self.endpoint.resume_reading()

    def _end(self) -> None:
        self.is_over = True
        self._forget_channels()
        self.broker.forget(self)

    def _forget_channels(self) -> None:
        for channel in self.channels.values():
            channel.end()
        self.channels.clear()

    def _receive(self, data: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if self._splitter is None:
            assert data.startswith(PROTOCOL_HEADER)
            self._splitter = Splitter()
            self._start()
            data = data[len(PROTOCOL_HEADER) :]
        for frame in self._splitter.frames(data):
            if not self.is_over:
                self._take(frame)
        for channel in list(self.channels.values()):
            channel.finish_chunk()

    def _start(self) -> None:
        properties: Any = {"product": "RabbitMQ", "version": self.broker.version, "capabilities": CAPABILITIES}
        self.send(commands.Connection.Start(0, 9, properties, "PLAIN AMQPLAIN", "en_US"), 0)

    def _take(self, frame: Frame) -> None:
        if frame.kind == HEARTBEAT:
            return
        if self.is_closing:
            if frame.kind == METHOD and isinstance(method_of(frame.payload), commands.Connection.CloseOk):
                self.end()
            return
        if frame.channel == 0:
            self._control(method_of(frame.payload))
            return
        channel = self.channels.get(frame.channel)
        if frame.kind != METHOD:
            if channel is not None:
                channel.take_content(frame)
        elif frame.payload.startswith(PUBLISH):
            if channel is not None:
                channel.begin_publish(frame.payload)
        else:
            self._channel_method(frame.channel, channel, method_of(frame.payload))

    def _channel_method(self, number: int, channel: Channel | None, method: Any) -> None:
        if isinstance(method, commands.Channel.Open):
            if len(self.channels) >= self.broker.channel_max:
                text = f"NOT_ALLOWED - number of channels opened ({self.broker.channel_max}) has reached the maximum"
                self.close(530, text, (20, 10))
                return
            self.channels[number] = Channel(self, number)
            self.send(commands.Channel.OpenOk(), number)
        elif isinstance(method, commands.Channel.CloseOk | commands.Channel.Close):
            if channel is not None:
                channel.end()
                del self.channels[number]
            if isinstance(method, commands.Channel.Close):
                self.send(commands.Channel.CloseOk(), number)
        elif channel is not None:
            channel.take_method(method)

    def _control(self, method: Any) -> None:
        if isinstance(method, commands.Connection.StartOk):
            tune = commands.Connection.Tune(self.broker.channel_max, FRAME_BYTES_MAX, HEARTBEAT_SECONDS)
            self.send(tune, 0)
        elif isinstance(method, commands.Connection.TuneOk):
            self.frame_bytes_max = method.frame_max or FRAME_BYTES_MAX
            if method.heartbeat:
                self._beat_later(float(method.heartbeat))
        elif isinstance(method, commands.Connection.Open):
            limit = self.broker.connections_max
            if limit is not None and self.broker.connections > limit:
                text = f"NOT_ALLOWED - access to vhost '/' refused: connection limit ({limit}) is reached"
                self.close(530, text, (10, 40))
            else:
                self.send(commands.Connection.OpenOk(), 0)
        elif isinstance(method, commands.Connection.Close):
            self.send(commands.Connection.CloseOk(), 0)
            self.end()

    def _beat_later(self, seconds: float) -> None:
        def beat() -> None:
            if self.is_over:
                return
            silent = asyncio.get_running_loop().time() - self._heard_at
            if silent > MISSED_MAX * seconds and not self._is_blocked:
                self.reset()
                return
            self.send_bytes(HEARTBEAT_FRAME)
            self._beat_later(seconds)

        self.broker.later(seconds / 2, beat)
