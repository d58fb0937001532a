"""The server's side of one AMQP channel: declarations, publishes and their confirms."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pamqp import commands

from tests.simulation.rabbitmq.faults import CHANNEL_REASONS, CONNECTION_REASONS, Fault, drawn_fault
from tests.simulation.rabbitmq.frames import (
    HEADER,
    Frame,
    Publish,
    ack,
    body_size_of,
    content,
    marshalled,
    nack,
    publish_of,
    returned,
)
from tests.simulation.rabbitmq.queues import Exchange, Message, Queue

if TYPE_CHECKING:
    from tests.simulation.rabbitmq.connection import Connection

PUBLISH_METHOD = (60, 40)
COMPARED = ("x-queue-type", "x-max-length", "x-overflow", "x-delivery-limit", "x-message-ttl", "x-expires")
"""The arguments of a queue that a declaration must repeat."""

Received = tuple[Publish, bytes, bytes]
"""A message as it came: the method, the header and the body."""


class Channel:
    def __init__(self, connection: "Connection", number: int) -> None:
        self._connection = connection
        self._broker = connection.broker
        self._number = number
        self._confirms = False
        self._is_closing = False
        """The server has sent `channel.close`."""
        self._is_over = False
        self._tag = 0
        self._open: dict[int, tuple[list[Message], bool]] = {}
        """The tags without an answer: the copies in the queues, and whether a queue has refused it."""
        self._publish: Publish | None = None
        self._header, self._body = b"", b""
        self._chunk: list[Received] = []

    def end(self) -> None:
        self._is_over = True
        self._chunk.clear()

    # Publishing

    def begin_publish(self, payload: bytes) -> None:
        self._publish = publish_of(payload)

    def take_content(self, frame: Frame) -> None:
        if self._publish is None or self._is_closing:
            return
        if frame.kind == HEADER:
            self._header, self._body = frame.payload, b""
        else:
            self._body = self._body + frame.payload if self._body else frame.payload
        if len(self._body) == body_size_of(self._header):
            self._chunk.append((self._publish, self._header, self._body))
            self._publish = None
            if self._broker.has_alarm:
                self._connection.block()

    def finish_chunk(self) -> None:
        """Take the messages that came at once, and confirm them later."""
        if not self._chunk:
            return
        chunk, self._chunk = self._chunk, []
        fault = drawn_fault(self._broker.chance, self._broker.rates, len(chunk))
        first = self._tag + 1
        for at, received in enumerate(chunk):
            if fault is not None and fault.at == at and self._meet(fault):
                return
            if self._is_over or self._is_closing:
                return
            self._take(received, refused=fault is not None and fault.kind == "nack" and fault.at == at)
        if fault is not None and fault.at >= len(chunk) and self._meet(fault):
            return
        if self._confirms and not (fault is not None and fault.kind == "silent"):
            self._confirm_later(range(first, self._tag + 1))

    def _take(self, received: Received, *, refused: bool) -> None:
        publish, header, body = received
        broker = self._broker
        if len(body) > broker.message_bytes_max:
            text = (
                f"PRECONDITION_FAILED - message size {len(body)} is larger than configured max size "
                f"{broker.message_bytes_max}"
            )
            self._close(406, text, PUBLISH_METHOD)
            return
        if "write" in broker.denied:
            self._close(403, f"ACCESS_REFUSED - write access to exchange '{publish.exchange}' refused", PUBLISH_METHOD)
            return
        queues = broker.route(publish.exchange, Message(publish.routing_key, header, body))
        if queues is None:
            self._close(404, f"NOT_FOUND - no exchange '{publish.exchange}' in vhost '/'", PUBLISH_METHOD)
            return
        self._tag += 1
        if not queues and publish.mandatory:
            self._return(publish, header, body)
        copies = [Message(publish.routing_key, header, body) for _ in queues]
        taken = [not refused and queue.take(copy) for queue, copy in zip(queues, copies, strict=True)]
        if self._confirms:
            self._open[self._tag] = copies, not all(taken)
            if not queues:
                self._answer([self._tag])  # nothing to wait for

    def _return(self, publish: Publish, header: bytes, body: bytes) -> None:
        method = marshalled(returned(publish), self._number)
        frames = content(self._number, header, body, self._connection.frame_bytes_max)
        self._connection.send_bytes(method + frames)

    def _meet(self, fault: Fault) -> bool:
        """Return True if the channel is over now."""
        pick = self._broker.chance.pick
        if fault.kind == "lost":
            self._connection.reset()
        elif fault.kind == "close channel":
            self._close(*CHANNEL_REASONS[pick("rabbitmq: why the channel is closed", len(CHANNEL_REASONS))])
        elif fault.kind == "close connection":
            self._connection.close(*CONNECTION_REASONS[pick("rabbitmq: why it is closed", len(CONNECTION_REASONS))])
        return fault.kind not in ("nack", "silent")

    def _close(self, code: int, text: str, method: tuple[int, int]) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._connection.send(commands.Channel.Close(code, text, *method), self._number)

    # Confirms

    def _confirm_later(self, tags: range) -> None:
        broker = self._broker
        rates, chance = broker.rates, broker.chance
        parts = [tags]
        if rates.split and len(tags) > 1 and chance.happens("rabbitmq: confirms come in parts", rates.split):
            middle = tags.start + 1 + chance.pick("rabbitmq: where confirms are split", len(tags) - 1)
            parts = [range(tags.start, middle), range(middle, tags.stop)]
        for part in parts:
            least, most = rates.confirm_seconds
            seconds = chance.seconds("rabbitmq: time to confirm", least, most) if most else 0.0
            broker.later(seconds, lambda part=part: self._answer(part))  # type: ignore[misc]

    def _answer(self, tags: Sequence[int]) -> None:
        """Ack or nack what is still open. Tags that begin the window are answered together."""
        accepted: list[int] = []
        refused: list[int] = []
        for tag in tags:
            if tag in self._open:
                copies, was_refused = self._open.pop(tag)
                (refused if was_refused else accepted).append(tag)
                for copy in copies:
                    copy.is_safe = True
        if self._is_over or self._is_closing:
            return
        parts = [nack(self._number, tag, multiple=False) for tag in refused]
        before = min(self._open, default=self._tag + 1)
        together = [tag for tag in accepted if tag < before and not any(one < tag for one in refused)]
        if together and not self._broker_confirms_singly():
            parts.append(ack(self._number, together[-1], multiple=len(together) > 1))
            accepted = [tag for tag in accepted if tag not in set(together)]
        parts += [ack(self._number, tag, multiple=False) for tag in accepted]
        self._connection.send_bytes(b"".join(parts))

    def _broker_confirms_singly(self) -> bool:
        rates = self._broker.rates
        return bool(rates.split) and self._broker.chance.happens("rabbitmq: confirms come singly", rates.split)

    # Declarations

    def take_method(self, method: Any) -> None:
        if self._is_closing:
            return
        made = _METHODS.get(type(method))
        if made is None:
            raise AssertionError(f"the model knows no {method.name}")
        made(self, method)

    def _send(self, method: Any) -> None:
        self._connection.send(method, self._number)

    def _confirm_select(self, method: commands.Confirm.Select) -> None:
        self._confirms = True
        self._send(commands.Confirm.SelectOk())

    def _declare_queue(self, method: commands.Queue.Declare) -> None:
        broker, name = self._broker, method.queue
        there = broker.queues.get(name)
        if method.passive:
            if there is None:
                self._close(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", (50, 10))
                return
        elif "configure" in broker.denied:
            self._close(403, f"ACCESS_REFUSED - configure access to queue '{name}' in vhost '/' refused", (50, 10))
            return
        elif there is None:
            broker.queues[name] = Queue(name, method.arguments or {}, bool(method.durable))
        elif difference := _difference(there, method):
            self._close(406, f"PRECONDITION_FAILED - inequivalent arg {difference} for queue '{name}'", (50, 10))
            return
        self._send(commands.Queue.DeclareOk(name, len(broker.messages(name)), 0))

    def _declare_exchange(self, method: commands.Exchange.Declare) -> None:
        broker, name = self._broker, method.exchange
        there = broker.exchanges.get(name)
        if method.passive:
            if there is None:
                self._close(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'", (40, 10))
                return
        elif "configure" in broker.denied:
            self._close(403, f"ACCESS_REFUSED - configure access to exchange '{name}' refused", (40, 10))
            return
        elif there is None:
            broker.exchanges[name] = Exchange(name, method.exchange_type, bool(method.durable))
        elif there.kind != method.exchange_type:
            text = f"received '{method.exchange_type}' but current is '{there.kind}'"
            self._close(406, f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{name}': {text}", (40, 10))
            return
        self._send(commands.Exchange.DeclareOk())

    def _bind(self, method: commands.Queue.Bind) -> None:
        broker = self._broker
        if "bind" in broker.denied:
            self._close(403, f"ACCESS_REFUSED - write access to queue '{method.queue}' refused", (50, 20))
            return
        exchange = broker.exchanges.get(method.exchange)
        if exchange is None or method.queue not in broker.queues:
            missing = f"exchange '{method.exchange}'" if exchange is None else f"queue '{method.queue}'"
            self._close(404, f"NOT_FOUND - no {missing} in vhost '/'", (50, 20))
            return
        exchange.bindings[method.routing_key, method.queue] = None
        self._send(commands.Queue.BindOk())

    def _delete_queue(self, method: commands.Queue.Delete) -> None:
        count = len(self._broker.messages(method.queue))
        self._broker.delete_queue(method.queue)
        self._send(commands.Queue.DeleteOk(count))

    def _delete_exchange(self, method: commands.Exchange.Delete) -> None:
        self._broker.exchanges.pop(method.exchange, None)
        self._send(commands.Exchange.DeleteOk())

    def _qos(self, method: commands.Basic.Qos) -> None:
        self._send(commands.Basic.QosOk())


def _difference(queue: Queue, method: commands.Queue.Declare) -> str:
    """The first argument that differs, in RabbitMQ's words."""
    wanted = method.arguments or {}
    if bool(method.durable) != queue.durable:
        return f"'durable': received '{bool(method.durable)}' but current is '{queue.durable}'".lower()
    for name in COMPARED:
        given, there = wanted.get(name), queue.arguments.get(name)
        if name == "x-queue-type":
            given, there = given or "classic", queue.kind
        if given != there:
            return f"'{name}': received {given!r} but current is {there!r}"
    return ""


_METHODS: dict[type, Any] = {
    commands.Confirm.Select: Channel._confirm_select,
    commands.Queue.Declare: Channel._declare_queue,
    commands.Queue.Bind: Channel._bind,
    commands.Queue.Delete: Channel._delete_queue,
    commands.Exchange.Declare: Channel._declare_exchange,
    commands.Exchange.Delete: Channel._delete_exchange,
    commands.Basic.Qos: Channel._qos,
}
