"""Feeds received bytes to the parser, in slices, and stops reading from a client that must wait."""

import asyncio
from collections.abc import Callable

from ingest.http.direct import limits


class Inflow:
    """`regulate` is called after each change that may let the client go on, or make it wait."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, feed: Callable[[bytes], None], is_full: Callable[[], bool]
    ) -> None:
        """`feed` parses bytes. `is_full` returns True while the client must wait."""
        self.ended = False
        """The parser gets nothing more."""
        self.paused = False
        """The listener does not read from the client."""
        self.heads = 0
        """Heads that this turn of the loop has parsed. The connection counts them."""
        self._loop = loop
        self._feed = feed
        self._is_full = is_full
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        """Received bytes that the parser has not seen."""
        self._scheduled = False
        """The next turn of the loop goes on with `_rest`."""

    def open(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    @property
    def waits(self) -> bool:
        """Return True if the parser has not seen all received bytes."""
        return bool(self._rest)

    def receive(self, data: bytes) -> None:
        if self._rest or len(data) > limits.SLICE_BYTES:
            self._rest += data
            if not self._scheduled:
                self._parse_rest()
        else:
            self._feed(data)

    def end(self) -> None:
        """Parse nothing more."""
        self.ended = True
        self._rest = b""

    def lose(self) -> None:
        """The client is gone."""
        self.end()
        self._transport = None

    def regulate(self) -> None:
        """Parse what waits, and read more from the client, as far as the limits allow."""
        if not self._transport or self.ended:
            return
        if self._rest and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._parse_rest)
        self.pause(bool(self._rest) or self._is_full())

    def pause(self, pause: bool) -> None:
        if self._transport and pause is not self.paused:
            self.paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _parse_rest(self) -> None:
        """Parse received bytes until the limits of a turn. The next turn goes on."""
        self._scheduled = True
        rest, at = self._rest, 0
        self.heads = 0
        while at < len(rest) and not (self._is_full() or self.ended or self.heads >= limits.TURN_REQUESTS_MAX):
            self._feed(rest[at : at + limits.SLICE_BYTES])
            at += limits.SLICE_BYTES
        self._rest = b"" if self.ended else rest[at:]
        self._scheduled = False
        if at or not self.paused:
            self.regulate()
