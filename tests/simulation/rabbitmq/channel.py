"""The server's side of one AMQP channel: declarations, publishes and their confirms."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pamqp import commands

from tests.simulation.rabbitmq.declarations import METHODS
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
from tests.simulation.rabbitmq.queues import Message

if TYPE_CHECKING:
    from tests.simulation.rabbitmq.connection import Connection

PUBLISH_METHOD = (60, 40)

Received = tuple[Publish, bytes, bytes]
"""A message as it came: the method, the header and the body."""


class Channel:
    def __init__(self, connection: "Connection", number: int) -> None:
        self._connection = connection
        self.broker = connection.broker
        self._number = number
        self.confirms = False
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
            if self.broker.has_alarm:
                self._connection.block()

    def finish_chunk(self) -> None:
        """Take the messages that came at once, and confirm them later."""
        if not self._chunk:
            return
        chunk, self._chunk = self._chunk, []
        fault = drawn_fault(self.broker.chance, self.broker.rates, len(chunk))
        first = self._tag + 1
        for at, received in enumerate(chunk):
            if fault is not None and fault.at == at and self._meet(fault):
                return
            if self._is_over or self._is_closing:
                return
            self._take(received, refused=fault is not None and fault.kind == "nack" and fault.at == at)
        if fault is not None and fault.at >= len(chunk) and self._meet(fault):
            return
        if self.confirms and not (fault is not None and fault.kind == "silent"):
            self._confirm_later(range(first, self._tag + 1))

    def _take(self, received: Received, *, refused: bool) -> None:
        publish, header, body = received
        broker = self.broker
        if len(body) > broker.message_bytes_max:
            text = (
                f"PRECONDITION_FAILED - message size {len(body)} is larger than configured max size "
                f"{broker.message_bytes_max}"
            )
            self.close(406, text, PUBLISH_METHOD)
            return
        if "write" in broker.denied:
            self.close(403, f"ACCESS_REFUSED - write access to exchange '{publish.exchange}' refused", PUBLISH_METHOD)
            return
        queues = broker.route(publish.exchange, Message(publish.routing_key, header, body))
        if queues is None:
            self.close(404, f"NOT_FOUND - no exchange '{publish.exchange}' in vhost '/'", PUBLISH_METHOD)
            return
        self._tag += 1
        if not queues and publish.mandatory:
            self._return(publish, header, body)
        copies = [Message(publish.routing_key, header, body) for _ in queues]
        taken = [not refused and queue.take(copy) for queue, copy in zip(queues, copies, strict=True)]
        if self.confirms:
            self._open[self._tag] = copies, not all(taken)
            if not queues:
                self._answer([self._tag])  # nothing to wait for

    def _return(self, publish: Publish, header: bytes, body: bytes) -> None:
        method = marshalled(returned(publish), self._number)
        frames = content(self._number, header, body, self._connection.frame_bytes_max)
        self._connection.send_bytes(method + frames)

    def _meet(self, fault: Fault) -> bool:
        """Return True if the channel is over now."""
        pick = self.broker.chance.pick
        if fault.kind == "lost":
            self._connection.reset()
        elif fault.kind == "close channel":
            self.close(*CHANNEL_REASONS[pick("rabbitmq: why the channel is closed", len(CHANNEL_REASONS))])
        elif fault.kind == "close connection":
            self._connection.close(*CONNECTION_REASONS[pick("rabbitmq: why it is closed", len(CONNECTION_REASONS))])
        return fault.kind not in ("nack", "silent")

    def close(self, code: int, text: str, method: tuple[int, int]) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._connection.send(commands.Channel.Close(code, text, *method), self._number)

    # Confirms

    def _confirm_later(self, tags: range) -> None:
        broker = self.broker
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
        if together and not self._confirms_singly():
            parts.append(ack(self._number, together[-1], multiple=len(together) > 1))
            accepted = [tag for tag in accepted if tag not in set(together)]
        parts += [ack(self._number, tag, multiple=False) for tag in accepted]
        self._connection.send_bytes(b"".join(parts))

    def _confirms_singly(self) -> bool:
        rates = self.broker.rates
        return bool(rates.split) and self.broker.chance.happens("rabbitmq: confirms come singly", rates.split)

    def take_method(self, method: Any) -> None:
        if self._is_closing:
            return
        made = METHODS.get(type(method))
        if made is None:
            raise AssertionError(f"the model knows no {method.name}")
        made(self, method)

    def send(self, method: Any) -> None:
        self._connection.send(method, self._number)
