"""A segment: a file of entries, of which each is found again whatever happened to the bytes around it.

A head of 32 bytes: magic, the segment's mark, their CRC-32; how many bytes are synced, and that number's CRC-32.
An entry: the mark, kind, first id, number of events, length and CRC-32 of the content, the CRC-32 of all that, the
content. The mark is random, so that nothing in an event can be taken for an entry; the file's name repeats it.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from enum import IntEnum
from struct import Struct, pack, unpack_from
from typing import NamedTuple
from zlib import crc32

MAGIC = b"CESPOOL1"
MARK_BYTES = 8
_head = Struct("<8s8sI")
_synced = Struct("<QI")
_entry = Struct("<BqIII")
_crc = Struct("<I")
_whole_head = Struct(f"<{MARK_BYTES}sBqIIII")
SYNCED_PLACE = _head.size
HEAD_BYTES = _head.size + _synced.size
ENTRY_BYTES = MARK_BYTES + _entry.size + _crc.size
READ_AHEAD_BYTES = 1 << 20
SECTOR_BYTES = 4096
"""What a disk cannot read is left out in such pieces."""


class Kind(IntEnum):
    """What an entry tells. A mark's content is the first ids it is about (int64)."""

    WAITING = 1
    """A batch that is not published yet."""
    PUBLISHED = 2
    """A batch that is."""
    SETTLED = 3
    """A mark: these are published by now."""
    REMOVED = 4
    """A mark: these are in the database."""
    ASIDE = 5
    """What the database refuses: the reason (its length as uint16, UTF-8), and the batch."""
    RETRIED = 6
    """A mark: these are set aside no more."""


BATCHES = frozenset((int(Kind.WAITING), int(Kind.PUBLISHED)))
KINDS = frozenset(map(int, Kind))
KEYED = 0x80
"""Added to the kind of a batch of which an event has an idempotency key."""


class Entry(NamedTuple):
    """`content` lies at `place`; it is not `whole` if its checksum says so."""

    kind: int
    first_id: int
    events: int
    place: int
    content: bytes
    whole: bool = True


class Gap(NamedTuple):
    """Bytes in which nothing is whole."""

    place: int
    size: int


def head_of(mark: bytes) -> bytes:
    return _head.pack(MAGIC, mark, crc32(MAGIC + mark)) + synced_of(0)


def synced_of(size: int) -> bytes:
    """To be written at `SYNCED_PLACE` when so many bytes of the file are on the disk."""
    return _synced.pack(size, crc32(pack("<Q", size)))


def entry_of(mark: bytes, kind: int, first_id: int, count: int, content: bytes) -> bytes:
    head = mark + _entry.pack(kind, first_id, count, len(content), crc32(content))
    return b"".join((head, _crc.pack(crc32(head)), content))


def ids_content(first_ids: Sequence[int]) -> bytes:
    return pack(f"<{len(first_ids)}q", *first_ids)


def ids_of(content: bytes) -> tuple[int, ...]:
    return unpack_from(f"<{len(content) // 8}q", content)


def aside_content(reason: str, batch: bytes) -> bytes:
    text = reason.encode()[:1000]
    return pack("<H", len(text)) + text + batch


def aside_of(content: bytes) -> tuple[str, int]:
    """The reason, and where in the content the batch begins."""
    (size,) = unpack_from("<H", content) if len(content) >= 2 else (0,)
    return content[2 : 2 + size].decode(errors="replace"), 2 + size


def read_at(descriptor: int, place: int, size: int) -> bytes:
    """What the disk cannot read is zeros. Raises `OSError` for all else."""
    try:
        return os.pread(descriptor, size, place)
    except OSError as exc:
        if exc.errno != errno.EIO:
            raise
    if size <= SECTOR_BYTES:
        return bytes(size)
    half = size // 2
    return read_at(descriptor, place, half) + read_at(descriptor, place + half, size - half)


def entries(descriptor: int, mark: bytes) -> Iterator[Entry | Gap]:
    """All entries in order, and the damage between them. `mark` is the name's, for a file whose head is damaged.

    What was never synced, as a crash leaves it at the end, is neither.
    """
    head = read_at(descriptor, 0, HEAD_BYTES).ljust(HEAD_BYTES, b"\0")
    magic, own, check = _head.unpack_from(head)
    synced, synced_check = _synced.unpack_from(head, SYNCED_PLACE)
    if check != crc32(magic + own) or magic != MAGIC:
        yield Gap(0, SYNCED_PLACE)
        own = mark
    if synced_check != crc32(pack("<Q", synced)):
        yield Gap(SYNCED_PLACE, _synced.size)
        synced = 0
    end = os.fstat(descriptor).st_size
    for found in _scan(_Reader(descriptor), own, end):
        if found.place < synced or (isinstance(found, Entry) and found.whole):
            yield found
    if synced > end:
        yield Gap(end, synced - end)


class _Reader:
    """Of a file, ahead."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = 0
        self.data = b""

    def at(self, place: int, size: int) -> int:
        """Where these bytes of the file are in `data`."""
        at = place - self._place
        if 0 <= at <= len(self.data) - size:
            return at
        self._place = place
        self.data = read_at(self._descriptor, place, max(size, READ_AHEAD_BYTES))
        return 0

    def read(self, place: int, size: int) -> bytes:
        at = self.at(place, size)
        return self.data[at : at + size]

    def find(self, mark: bytes, place: int) -> int | None:
        """Where it is next."""
        while len(data := self.read(place, READ_AHEAD_BYTES)) >= len(mark):
            if (at := data.find(mark)) >= 0:
                return place + at
            place += len(data) - len(mark) + 1
        return None


def _scan(reader: _Reader, mark: bytes, end: int) -> Iterator[Entry | Gap]:
    begin = HEAD_BYTES
    place: int | None = begin
    while place is not None and place + ENTRY_BYTES <= end:
        entry = _read_entry(reader, mark, place, end)
        if entry is None:
            place = reader.find(mark, place + 1)
            continue
        if begin < place:
            yield Gap(begin, place - begin)
        yield entry
        place = begin = entry.place + len(entry.content)
    if begin < end:
        yield Gap(begin, end - begin)


def _read_entry(reader: _Reader, mark: bytes, place: int, end: int) -> Entry | None:
    """None if there is none whose length can be believed."""
    at = reader.at(place, ENTRY_BYTES)
    found, kind, first_id, events, size, check, head_check = _whole_head.unpack_from(reader.data, at)
    if found != mark or head_check != crc32(reader.data[at : at + ENTRY_BYTES - _crc.size]):
        return None
    place += ENTRY_BYTES
    if place + size > end:
        return None
    content = reader.read(place, size)
    return Entry(kind, first_id, events, place, content, crc32(content) == check)
