"""Reading request bodies over ASGI, bounded in bytes and in time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ingest.clock import Monotonic
from ingest.errors import BodyTimeout, BodyTooLarge

Receive = Callable[[], Awaitable[Any]]

SWEEP_SECONDS = 0.25
"""How late a body's deadline may be noticed."""
CUT_OFF = "The connection ended before the body did. Nothing was kept."


class BodyReader:
    """Reads whole bodies.

    A timer a request would cost more than the read itself, so all that are being read share a sweep.
    """

    def __init__(self, timeout_seconds: float, monotonic: Monotonic) -> None:
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()

    async def read(self, receive: Receive, length: int | None, bytes_max: int) -> bytes:
        """The body; `length` is its Content-Length, None if it comes in chunks.

        Raises `BodyTooLarge` as soon as that is known, `BodyTimeout` if it is not all there in time or the
        client has gone.
        """
        if length is not None and length > bytes_max:
            raise BodyTooLarge(f"The body has {length} bytes; the service takes {bytes_max} at most.")
        # With the loop at hand this is a dictionary look-up; without, CPython asks for the process id.
        self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None, "ASGI runs in tasks"  # noqa: S101 - a programming error
        self._reading[task] = self._monotonic() + self._timeout_seconds
        try:
            return await self._read(receive, length, bytes_max)
        except asyncio.CancelledError:
            if task in self._late:
                task.uncancel()
                raise BodyTimeout from None
            raise
        finally:
            del self._reading[task]
            self._late.discard(task)

    async def _read(self, receive: Receive, length: int | None, bytes_max: int) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if not body and message["type"] == "http.disconnect":
            raise BodyTimeout(CUT_OFF)
        if not message.get("more_body") or (length is not None and len(body) >= length):
            return _bounded(body, len(body), bytes_max)  # Granian says more_body with the last bytes, too
        parts, size = [body], len(body)
        while message.get("more_body") and size != length:
            message = await receive()
            part: bytes = message.get("body", b"")
            parts.append(part)
            size += len(part)
            _bounded(part, size, bytes_max)
        if message["type"] == "http.disconnect" or (length is not None and size < length):
            raise BodyTimeout(CUT_OFF)
        return b"".join(parts)

    async def sweep(self) -> None:
        """Until cancelled: end the reads that are past their deadline."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._monotonic()
            for task, deadline in list(self._reading.items()):
                if now > deadline and task not in self._late:
                    self._late.add(task)
                    task.cancel()


def _bounded(part: bytes, size: int, bytes_max: int) -> bytes:
    if size > bytes_max:
        raise BodyTooLarge(f"The body has more than the {bytes_max} bytes that the service takes.")
    return part
