"""Reads request bodies within limits of bytes and time."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from ingest.clock import Monotonic
from ingest.errors import BodyTimeout, BodyTooLarge
from ingest.http.content_encoding import Decoder, bound_of, decoder_for
from ingest.http.rsgi import Headers, HttpProtocol, ProtocolClosed
from ingest.ticks import pause

SWEEP_SECONDS = 0.5
"""The reader notices a missed deadline at most this late."""
INLINE_BYTES_MAX = 1_048_576
"""A body that may decompress to more is decompressed in a thread, so that it does not delay other requests."""
LENGTH_DIGITS_MAX = 20
"""Granian accepts a Content-Length of 64 bits, so only zeros precede these digits. Python refuses to parse very long
numbers."""
CUT_OFF = "The connection ended before the body did. Nothing was stored; retry."
CHUNKS_CUT_OFF = "The connection ended before the body did, or trailers followed it. Nothing was stored."


class BodyReader:
    """Reads whole bodies. One timer for each request would cost more than the read, so all reads share `sweep`."""

    def __init__(self, timeout_seconds: float, monotonic: Monotonic) -> None:
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()

    def read(self, protocol: HttpProtocol, headers: Headers, bytes_max: int) -> Coroutine[Any, Any, bytes]:
        """Return the decoded body. It has at most `bytes_max` bytes before and after decoding.

        Raises `UnsupportedEncoding` and `BodyTooLarge` as early as possible. Raises `BodyTimeout` if the body is late
        or the client disconnects, and `Malformed` if the body does not match its Content-Encoding.
        """
        if "content-encoding" in headers and (decode := decoder_for(headers)):
            return self._read_encoded(protocol, headers, bytes_max, decode)
        return self._read(protocol, headers, bytes_max)

    async def _read_encoded(self, protocol: HttpProtocol, headers: Headers, bytes_max: int, decode: Decoder) -> bytes:
        body = await self._read(protocol, headers, bytes_max)
        if bound_of(body, bytes_max) > INLINE_BYTES_MAX:
            return await asyncio.to_thread(decode, body, bytes_max)
        return decode(body, bytes_max)

    async def _read(self, protocol: HttpProtocol, headers: Headers, bytes_max: int) -> bytes:
        body = _body(protocol, headers, bytes_max)
        # Given the loop, this call is a dictionary look-up. Otherwise CPython makes a system call for the process id.
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
        """End late reads. Runs until it is cancelled."""
        while True:
            await pause(SWEEP_SECONDS)
            now = self._monotonic()
            for task, deadline in list(self._reading.items()):
                if now > deadline and task not in self._late:
                    self._late.add(task)
                    task.cancel()


def _body(protocol: HttpProtocol, headers: Headers, bytes_max: int) -> Awaitable[bytes]:
    """Choose the fastest way to read the body within the limit."""
    if "transfer-encoding" in headers:  # it overrides any Content-Length
        return _chunks(protocol, bytes_max)
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return _parts(protocol, bytes_max)
    size = int(length[-LENGTH_DIGITS_MAX:])
    if size > bytes_max:
        raise BodyTooLarge(f"The body has {size} bytes; the limit is {bytes_max}.")
    return protocol()


async def _chunks(protocol: HttpProtocol, bytes_max: int) -> bytes:
    """Read a chunked body of HTTP/1.1."""
    parts = await _read_parts(protocol, bytes_max)
    if parts[-2:] == [b"", b""]:
        raise BodyTimeout(CHUNKS_CUT_OFF)
    return b"".join(parts)


async def _parts(protocol: HttpProtocol, bytes_max: int) -> bytes:
    """Read an HTTP/2 body of unannounced length, or an absent body. If it ends early, no client awaits the response."""
    return b"".join(await _read_parts(protocol, bytes_max))


async def _read_parts(protocol: HttpProtocol, bytes_max: int) -> list[bytes]:
    parts: list[bytes] = []
    size = 0
    async for part in protocol:
        size += len(part)
        if size > bytes_max:
            raise BodyTooLarge(f"The body has more than {bytes_max} bytes, which is the limit.")
        parts.append(part)
    return parts
