"""The format of a segment: a file of entries. Each entry can be found even if all bytes around it are damaged.

The head has 32 bytes: magic, the segment's mark, the CRC-32 of both; the number of synced bytes, and its CRC-32.

An entry has the mark, kind, first id, number of events, length and CRC-32 of the content. The CRC-32 of all that
follows, and then the content. The mark is random, so no bytes of an event look like an entry. The file's name repeats
the mark.
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
SYNCED_OFFSET = _head.size
HEAD_BYTES = _head.size + _synced.size
ENTRY_BYTES = MARK_BYTES + _entry.size + _crc.size
READ_AHEAD_BYTES = 1 << 20
SECTOR_BYTES = 4096
"""Bytes that the disk cannot read are left out in pieces of this size."""


class Kind(IntEnum):
    """The kind of an entry. The content of a mark is the first ids that it is about (int64)."""

    WAITING = 1
    """A batch that is not published yet."""
    PUBLISHED = 2
    """A batch that is published."""
    SETTLED = 3
    """A mark: these batches are published now."""
    REMOVED = 4
    """A mark: these batches are in the database."""
    ASIDE = 5
    """Events that the database refuses: the reason (its length as uint16, UTF-8), and the batch."""
    RETRIED = 6
    """A mark: these events are no longer set aside."""


BATCHES = frozenset((int(Kind.WAITING), int(Kind.PUBLISHED)))
KINDS = frozenset(map(int, Kind))
KEYED = 0x80
"""Added to the kind of a batch if one of its events has an idempotency key."""


class Entry(NamedTuple):
    """`content` begins at `offset` in the file. It is not `whole` if its checksum is wrong."""

    kind: int
    first_id: int
    events: int
    offset: int
    content: bytes
    whole: bool = True


class Gap(NamedTuple):
    """Damaged bytes between whole entries."""

    offset: int
    size: int


def head_of(mark: bytes) -> bytes:
    return _head.pack(MAGIC, mark, crc32(MAGIC + mark)) + synced_of(0)


def synced_of(size: int) -> bytes:
    """Written at `SYNCED_OFFSET` when the first `size` bytes of the file are on the disk."""
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
    """The reason, and the offset of the batch in the content."""
    (size,) = unpack_from("<H", content) if len(content) >= 2 else (0,)
    return content[2 : 2 + size].decode(errors="replace"), 2 + size


def read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Bytes that the disk cannot read are zeros. Raises `OSError` for every other error."""
    try:
        return os.pread(descriptor, size, offset)
    except OSError as exc:
        if exc.errno != errno.EIO:
            raise
    if size <= SECTOR_BYTES:
        return bytes(size)
    half = size // 2
    return read_at(descriptor, offset, half) + read_at(descriptor, offset + half, size - half)


def entries(descriptor: int, mark: bytes) -> Iterator[Entry | Gap]:
    """All entries in order, and the damage between them. `mark` is from the file's name, in case the head is damaged.

    A crash may leave incomplete bytes at the end. They were never synced, so they do not count as damage.
    """
    head = read_at(descriptor, 0, HEAD_BYTES).ljust(HEAD_BYTES, b"\0")
    magic, own, check = _head.unpack_from(head)
    synced, synced_check = _synced.unpack_from(head, SYNCED_OFFSET)
    if check != crc32(magic + own) or magic != MAGIC:
        yield Gap(0, SYNCED_OFFSET)
        own = mark
    if synced_check != crc32(pack("<Q", synced)):
        yield Gap(SYNCED_OFFSET, _synced.size)
        synced = 0
    end = os.fstat(descriptor).st_size
    for found in _scan(_Reader(descriptor), own, end):
        if found.offset < synced or (isinstance(found, Entry) and found.whole):
            yield found
    if synced > end:
        yield Gap(end, synced - end)


class _Reader:
    """Reads a file, `READ_AHEAD_BYTES` at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = 0
        self.data = b""

    def at(self, offset: int, size: int) -> int:
        """Read these bytes of the file into `data`. Return their index in it."""
        at = offset - self._offset
        if 0 <= at <= len(self.data) - size:
            return at
        self._offset = offset
        self.data = read_at(self._descriptor, offset, max(size, READ_AHEAD_BYTES))
        return 0

    def read(self, offset: int, size: int) -> bytes:
        at = self.at(offset, size)
        return self.data[at : at + size]

    def find(self, mark: bytes, offset: int) -> int | None:
        """The offset of the next mark."""
        while len(data := self.read(offset, READ_AHEAD_BYTES)) >= len(mark):
            if (at := data.find(mark)) >= 0:
                return offset + at
            offset += len(data) - len(mark) + 1
        return None


def _scan(reader: _Reader, mark: bytes, end: int) -> Iterator[Entry | Gap]:
    begin = HEAD_BYTES
    offset: int | None = begin
    while offset is not None and offset + ENTRY_BYTES <= end:
        entry = _read_entry(reader, mark, offset, end)
        if entry is None:
            offset = reader.find(mark, offset + 1)
            continue
        if begin < offset:
            yield Gap(begin, offset - begin)
        yield entry
        offset = begin = entry.offset + len(entry.content)
    if begin < end:
        yield Gap(begin, end - begin)


def _read_entry(reader: _Reader, mark: bytes, offset: int, end: int) -> Entry | None:
    """None if the entry's own head is damaged: its length cannot be trusted then."""
    at = reader.at(offset, ENTRY_BYTES)
    found, kind, first_id, events, size, check, head_check = _whole_head.unpack_from(reader.data, at)
    if found != mark or head_check != crc32(reader.data[at : at + ENTRY_BYTES - _crc.size]):
        return None
    offset += ENTRY_BYTES
    if offset + size > end:
        return None
    content = reader.read(offset, size)
    return Entry(kind, first_id, events, offset, content, crc32(content) == check)
