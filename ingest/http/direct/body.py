"""The body of a request, as RSGI's protocol reads it: whole, or in parts as they come."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from ingest.http.rsgi import ProtocolClosed


class RequestBody:
    """The connection fills it; one handler reads it."""

    __slots__ = ("_changed", "_ended", "_lost", "_parts", "_taken", "bytes")

    def __init__(self, taken: Callable[[], None]) -> None:
        """`taken` is called each time the handler has taken what came so far."""
        self.bytes = 0
        """Bytes that wait for the handler."""
        self._parts: deque[bytes] = deque()
        self._taken = taken
        self._ended = False
        self._lost = False
        self._changed: asyncio.Future[None] | None = None

    def add(self, part: bytes) -> None:
        self._parts.append(part)
        self.bytes += len(part)
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def lose(self) -> None:
        """The client will send no more. A body that has not ended never will."""
        self._lost = True
        self._wake()

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the parts, and an empty one at the end. Raises `ProtocolClosed` if the body does not end."""
        while True:
            while self._parts:
                part = self._parts.popleft()
                self.bytes -= len(part)
                yield part
            self._taken()
            if self._ended:
                yield b""
                return
            if self._lost:
                raise ProtocolClosed
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed

    def _wake(self) -> None:
        if self._changed and not self._changed.done():
            self._changed.set_result(None)
