"""Decodes compressed bodies, gzip (RFC 1952) and Zstandard (RFC 8878), within a bound.

The decoders never allocate more than the bound, neither for a small body that grows nor for the size that a frame
announces.
"""

import io
import zlib
from collections.abc import Callable

import zstandard

from ingest.errors import BodyTooLarge, Malformed, UnsupportedEncoding
from ingest.http.rsgi import Headers

RATIO_MAX = 200
"""The maximum of decoded to encoded size. Ten thousand events that differ only in their ids stay below it."""
GZIP_MEMBERS_MAX = 64
"""A gzip body may be a sequence of several compressed files."""

Decoder = Callable[[bytes, int], bytes]
"""Decodes a body to at most the given number of bytes. Raises `Malformed` or `BodyTooLarge`."""

_GZIP_ONLY = 31
"""The `wbits` argument of zlib: the largest window, with a gzip header."""


def decoder_for(headers: Headers) -> Decoder | None:
    """Return the decoder for the Content-Encoding, or None if the body is not encoded. Raises `UnsupportedEncoding`."""
    name = str(headers.get("content-encoding", "?")).strip().lower()  # an unreadable value is not supported
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return gunzip
    if name == "zstd":
        return unzstd
    raise UnsupportedEncoding


def bound_of(body: bytes, bytes_max: int) -> int:
    """The largest number of bytes that `body` may decode to."""
    return min(bytes_max, RATIO_MAX * len(body))


def gunzip(body: bytes, bytes_max: int) -> bytes:
    bound = bound_of(body, bytes_max)
    parts: list[bytes] = []
    size = 0
    for _ in range(GZIP_MEMBERS_MAX):
        member = zlib.decompressobj(_GZIP_ONLY)
        try:
            parts.append(member.decompress(body, bound + 1 - size))
        except zlib.error as exc:
            raise Malformed(f"The body is not valid gzip: {exc}.") from exc
        size += len(parts[-1])
        if size > bound:
            raise _too_large(bound)
        if not member.eof:
            raise Malformed("The body is not valid gzip: it ends early.")
        body = member.unused_data
        if not body:
            return b"".join(parts)
    raise Malformed(f"The body has more than {GZIP_MEMBERS_MAX} gzip members.")


def unzstd(body: bytes, bytes_max: int) -> bytes:
    """Decode one Zstandard frame."""
    bound = bound_of(body, bytes_max)
    decompressor = zstandard.ZstdDecompressor()
    try:
        if zstandard.frame_content_size(body) > bound:  # negative if the frame does not say
            raise _too_large(bound)
        return decompressor.decompress(body, max_output_size=bound, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        if _is_larger(decompressor, body, bound):
            raise _too_large(bound) from exc
        raise Malformed(f"The body is not one whole Zstandard frame: {exc}.") from exc


def _is_larger(decompressor: zstandard.ZstdDecompressor, body: bytes, bound: int) -> bool:
    """True if the frame exceeds the bound. The library raises the same error for a frame that ends early."""
    size = 0
    try:
        for part in decompressor.read_to_iter(io.BytesIO(body)):
            size += len(part)
            if size > bound:
                return True
    except zstandard.ZstdError:
        pass
    return False


def _too_large(bound: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body decompresses to more than {bound} bytes, the limit for its size "
        f"(at most {RATIO_MAX} times the compressed size)."
    )
