"""Reading request bodies, bounded in bytes and in time."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from ingest.clock import Monotonic
from ingest.errors import BodyTimeout, BodyTooLarge
from ingest.http.content_encoding import Decoder, bound_of, decoder_for
from ingest.http.rsgi import Headers, HttpProtocol, ProtocolClosed

SWEEP_SECONDS = 0.25
"""How late a body's deadline may be noticed."""
INLINE_BYTES_MAX = 1_048_576
"""What may become larger than that is decompressed in a thread, as it takes longer than other requests should wait."""
LENGTH_DIGITS_MAX = 20
"""Granian takes a Content-Length of 64 bits: before these digits are zeros, which Python may find too many of."""
CUT_OFF = "The connection ended before the body did. Nothing was kept."
CHUNKS_CUT_OFF = "The connection ended before the body did, or trailers followed it. Nothing was kept."


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

    def read(self, protocol: HttpProtocol, headers: Headers, bytes_max: int) -> Coroutine[Any, Any, bytes]:
        """The body's content, of at most `bytes_max` bytes before and after its Content-Encoding is undone.

        Raises `UnsupportedEncoding` and `BodyTooLarge` as soon as that is known, `BodyTimeout` if it is not all
        there in time or the client has gone, `Malformed` if it is not what its encoding says.
        """
        if "content-encoding" in headers and (undo := decoder_for(headers)):
            return self._read_encoded(protocol, headers, bytes_max, undo)
        return self._read(protocol, headers, bytes_max)

    async def _read_encoded(self, protocol: HttpProtocol, headers: Headers, bytes_max: int, undo: Decoder) -> bytes:
        body = await self._read(protocol, headers, bytes_max)
        if bound_of(body, bytes_max) > INLINE_BYTES_MAX:
            return await asyncio.to_thread(undo, body, bytes_max)
        return undo(body, bytes_max)

    async def _read(self, protocol: HttpProtocol, headers: Headers, bytes_max: int) -> bytes:
        body = _body(protocol, headers, bytes_max)
        # With the loop at hand this is a dictionary look-up; without, CPython asks for the process id.
        self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None, "requests run in tasks"  # noqa: S101 - a programming error
        self._reading[task] = self._monotonic() + self._timeout_seconds
        try:
            return await body
        except ProtocolClosed:
            raise BodyTimeout(CUT_OFF) from None
        except asyncio.CancelledError:
            if task in self._late:
                task.uncancel()
                raise BodyTimeout from None
            raise
        finally:
            del self._reading[task]
            self._late.discard(task)

    async def sweep(self) -> None:
        """Until cancelled: end the reads that are past their deadline."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._monotonic()
            for task, deadline in list(self._reading.items()):
                if now > deadline and task not in self._late:
                    self._late.add(task)
                    task.cancel()


def _body(protocol: HttpProtocol, headers: Headers, bytes_max: int) -> Awaitable[bytes]:
    """The quickest way to read it that keeps to the limit."""
    if "transfer-encoding" in headers:  # whatever Content-Length stands beside it
        return _chunks(protocol, bytes_max)
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return _parts(protocol, bytes_max)
    size = int(length[-LENGTH_DIGITS_MAX:])
    if size > bytes_max:
        raise BodyTooLarge(f"The body has {size} bytes; the service takes {bytes_max} at most.")
    return protocol()


async def _chunks(protocol: HttpProtocol, bytes_max: int) -> bytes:
    """A body in chunks, which only HTTP/1.1 has."""
    parts = await _read_parts(protocol, bytes_max)
    if parts[-2:] == [b"", b""]:
        raise BodyTimeout(CHUNKS_CUT_OFF)
    return b"".join(parts)


async def _parts(protocol: HttpProtocol, bytes_max: int) -> bytes:
    """A body whose length only HTTP/2's frames tell, or none at all. If it ends early, nobody waits for an answer."""
    return b"".join(await _read_parts(protocol, bytes_max))


async def _read_parts(protocol: HttpProtocol, bytes_max: int) -> list[bytes]:
    parts: list[bytes] = []
    size = 0
    async for part in protocol:
        size += len(part)
        if size > bytes_max:
            raise BodyTooLarge(f"The body has more than the {bytes_max} bytes that the service takes.")
        parts.append(part)
    return parts
