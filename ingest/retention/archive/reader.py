"""Reads archives in bounded memory, and proves that they are whole."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec
from zstandard import ZstdDecompressor, ZstdError

from ingest.retention.archive.manifest import ArchiveDamaged, Manifest

CHUNK_BYTES = 1 << 20
"""Content that is read at a time."""
LINE_BYTES_MAX = 64 << 20
"""A longer line is damage: no body of an event is so large."""
WINDOW_BYTES_MAX = 8 << 20
"""Memory that a file may demand for its decompression. The service's own need less."""


class Content(msgspec.Struct, frozen=True):
    """The content that a file really has: see `ingest.retention.archive.manifest.Manifest`."""

    events: int
    bytes: int
    sha256: str
    content_bytes: int
    content_sha256: str


class _Summed:
    """A file that sums up all bytes that are read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        self.bytes += len(data)
        return data


def read_content(path: Path) -> Content:
    """Read the whole file. Raises `OSError`, or `ArchiveDamaged` if it cannot be decompressed."""
    content = hashlib.sha256()
    events = size = 0
    with path.open("rb") as file:
        summed = _Summed(file)
        for chunk in _chunks(summed, path):
            content.update(chunk)
            events += chunk.count(b"\n")
            size += len(chunk)
        while summed.read(CHUNK_BYTES):
            pass  # bytes behind the archive's end change the file's checksum
    return Content(events, summed.bytes, summed.sha256.hexdigest(), size, content.hexdigest())


def check(path: Path, manifest: Manifest) -> None:
    """Raises `ArchiveDamaged` if the file is not the one that the manifest describes, and `OSError`."""
    found = read_content(path)
    for name in ("bytes", "sha256", "events", "content_bytes", "content_sha256"):
        if getattr(found, name) != getattr(manifest, name):
            raise ArchiveDamaged(
                f"{path} is damaged or cut: its {name.replace('_', ' ')} should be {getattr(manifest, name)} by its "
                f"manifest, and is {getattr(found, name)}. Take this file from a backup."
            )


def lines(path: Path) -> Iterator[bytes]:
    """Yield each line without its line break. Raises as `read_content` does."""
    rest = b""
    with path.open("rb") as file:
        for chunk in _chunks(file, path):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > LINE_BYTES_MAX:
                raise ArchiveDamaged(f"{path} is damaged: a line has more than {LINE_BYTES_MAX} bytes.")
    if rest:
        raise ArchiveDamaged(f"{path} is cut: its last line has no end.")


def _chunks(file: BinaryIO | _Summed, path: Path) -> Iterator[bytes]:
    try:
        with ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).stream_reader(
            cast(IO[bytes], file), closefd=False
        ) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except (ZstdError, MemoryError) as exc:
        raise ArchiveDamaged(f"{path} cannot be decompressed: {exc}.") from exc
