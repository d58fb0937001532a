"""Takes RabbitMQ's confirms and returned messages off the wire, before aiormq sees them. Pure.

aiormq makes an object, two queue entries and a task's step of every frame, and a loaded queue answers in many small
frames. So aiormq gets only the other frames. Returns are taken too: otherwise their acks would overtake them.
"""

import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

import pamqp.frame
from pamqp.exceptions import PAMQPException

from ingest.broker.amqp.frames import BODY, FRAME_BYTES_MAX, FRAME_END, FRAME_OVERHEAD_BYTES, HEADER, METHOD

_CHANNEL, _BASIC = 20 << 16, 60 << 16
RETURN, ACK, NACK = _BASIC | 50, _BASIC | 80, _BASIC | 120
CONFIRMS = frozenset((ACK, NACK))
CHANNEL_ENDS = frozenset((_CHANNEL | 40, _CHANNEL | 41))
"""`channel.close` and its `close-ok`, after which the number may be used again."""
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
HEARTBEAT_PAUSE_SECONDS = 1.0
"""aiormq takes a connection without frames for stuck. So it gets heartbeats in place of confirms."""
MALFORMED = bytes(8)
"""A frame that aiormq cannot read, so that it closes the connection."""

_start = struct.Struct(">BHI")
"""Type, channel, size (2.3.5)."""
_confirm = struct.Struct(">BHIIQBB")
"""A whole frame of `basic.ack` or `basic.nack`: start, class and method, tag, bits, frame end."""
_CONFIRM_BYTES = _confirm.size - FRAME_OVERHEAD_BYTES
_END = FRAME_END[0]


class Window(Protocol):
    """The messages in flight on one channel. See `ConfirmWindow`."""

    def answer(self, tag: int, multiple: bool, refused: bool) -> None: ...

    def returned(self, event_id: int) -> None: ...


class _Malformed(Exception):
    pass


class ConfirmReader:
    """Splits a connection's bytes into confirms and the bytes for aiormq. It holds less than `FRAME_BYTES_MAX` of them.

    The windows' channels have no consumers, so that content on them always belongs to a `basic.return`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heartbeat_at = clock()
        self._windows: dict[int, Window] = {}
        self._held = bytearray()
        self._wanted = 0  # with as many bytes, the held frame can be judged
        self._left = 0  # bytes that are still to come of the frame that was judged last
        self._passing = True  # whether aiormq gets that frame

    def deliver(self, channel: int, window: Window) -> None:
        """Give the channel's confirms to the window from now on, until the channel ends."""
        self._windows[channel] = window

    def feed(self, data: bytes) -> bytes:
        """Deliver the confirms in `data`. Return the bytes for aiormq."""
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return b""
            data = bytes(self._held)
            self._held.clear()
        passed: list[bytes] = []
        try:
            self._split(data, passed)
        except _Malformed:
            passed.append(MALFORMED)
            self._left, self._passing = sys.maxsize, False
        return b"".join(passed) if passed else self._heartbeat()

    def _split(self, data: bytes, passed: list[bytes]) -> None:
        at = 0
        while at < len(data):
            if not self._left:
                at = self._confirmed(data, at)
                if not self._judged(data, at):
                    self._held += data[at:]
                    return
            upto = min(at + self._left, len(data))
            self._left -= upto - at
            if self._passing:
                passed.append(data[at:upto])
            elif not self._left and data[upto - 1] != _END:
                raise _Malformed
            at = upto

    def _confirmed(self, data: bytes, at: int) -> int:
        """Deliver the confirms in a row that begin at `at`. Return where they end."""
        last = len(data) - _confirm.size
        while at <= last:
            kind, channel, size, method, tag, bits, end = _confirm.unpack_from(data, at)
            if method not in CONFIRMS or kind != METHOD or size != _CONFIRM_BYTES or end != _END:
                break
            window = self._windows.get(channel)
            if window is None:
                break
            window.answer(tag, bits & 1 == 1, method == NACK)
            at += _confirm.size
        return at

    def _judged(self, data: bytes, at: int) -> bool:
        """Decide whether aiormq gets the frame at `at`. Return False if that takes more bytes."""
        self._wanted = _start.size
        if len(data) - at < self._wanted:
            return False
        kind, channel, size = _start.unpack_from(data, at)
        self._passing = True
        if channel in self._windows:
            self._wanted = _bytes_to_judge(kind, size)
            if len(data) - at < self._wanted:
                return False
            self._passing = self._passes(kind, channel, data[at : at + self._wanted])
        self._left = size + FRAME_OVERHEAD_BYTES
        return True

    def _passes(self, kind: int, channel: int, frame: bytes) -> bool:
        if kind == HEADER:
            self._windows[channel].returned(_message_id(frame))
        if kind != METHOD:
            return kind not in (HEADER, BODY)
        method = int.from_bytes(frame[_start.size : _start.size + 4])
        if method in CONFIRMS:
            raise _Malformed  # `_confirmed` takes the others
        if method in CHANNEL_ENDS:
            del self._windows[channel]
        return method != RETURN

    def _heartbeat(self) -> bytes:
        now = self._clock()
        if not self._windows or now - self._heartbeat_at < HEARTBEAT_PAUSE_SECONDS:
            return b""
        self._heartbeat_at = now
        return HEARTBEAT


def _bytes_to_judge(kind: int, size: int) -> int:
    whole = size + FRAME_OVERHEAD_BYTES
    if kind == HEADER:
        if whole > FRAME_BYTES_MAX:
            raise _Malformed
        return whole
    return min(whole, _confirm.size) if kind == METHOD else _start.size


def _message_id(frame: bytes) -> int:
    try:
        header: Any = pamqp.frame.unmarshal(frame)[2]
        return int(header.properties.message_id)
    except (PAMQPException, ValueError, TypeError) as exc:
        raise _Malformed from exc
