"""Compressed bodies: gzip (RFC 1952) and Zstandard (RFC 8878), undone within bounds.

Nothing is allocated beyond the bound, neither for what a small body would become nor for what a frame says it holds.
"""

import io
import zlib
from collections.abc import Callable

import zstandard

from ingest.errors import BodyTooLarge, Malformed, UnsupportedEncoding
from ingest.http.rsgi import Headers

RATIO_MAX = 200
"""Of what comes out to what goes in. Ten thousand events that differ only in their ids stay below it."""
GZIP_MEMBERS_MAX = 64
"""A gzip body may be several files one after the other."""

Decoder = Callable[[bytes, int], bytes]
"""The content of an encoded body, of so many bytes at most. Raises `Malformed` or `BodyTooLarge`."""

_GZIP_ONLY = 31
"""zlib's `wbits`: the largest window, and a gzip header."""


def decoder_for(headers: Headers) -> Decoder | None:
    """What undoes the body's Content-Encoding; None if it has none. Raises `UnsupportedEncoding`."""
    name = str(headers.get("content-encoding", "?")).strip().lower()  # one that is not readable is none of ours
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return gunzip
    if name == "zstd":
        return unzstd
    raise UnsupportedEncoding


def bound_of(body: bytes, bytes_max: int) -> int:
    """How many bytes may come out of `body`."""
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
    """One frame."""
    bound = bound_of(body, bytes_max)
    decompressor = zstandard.ZstdDecompressor()
    try:
        if zstandard.frame_content_size(body) > bound:  # less than nothing where the frame does not tell
            raise _too_large(bound)
        return decompressor.decompress(body, max_output_size=bound, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        if _is_larger(decompressor, body, bound):
            raise _too_large(bound) from exc
        raise Malformed(f"The body is not one whole Zstandard frame: {exc}.") from exc


def _is_larger(decompressor: zstandard.ZstdDecompressor, body: bytes, bound: int) -> bool:
    """Whether the frame holds more than the bound; the library's error does not tell that from one that ends early."""
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
        f"The body decompresses to more than the {bound} bytes that the service takes of it "
        f"(at most {RATIO_MAX} times its own size)."
    )
