"""The pages of an SQLite file and its log, read without SQLite. Layouts: SQLite, Database File Format.

Nothing is believed: what cannot be is skipped, and who reads a record checks it by its checksum.
"""

from collections.abc import Iterator
from pathlib import Path
from struct import Struct, unpack_from
from typing import BinaryIO

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
PAGE_BYTES = 4096
"""SQLite's default, for a file whose header is gone."""
PAYLOAD_BYTES_MAX = 64 << 20
"""Far above a batch: a length beyond it is damage."""
LEAF = 0x0D
"""Type of a page that holds rows (section 1.6)."""
WAL_MAGICS = (0x377F0682, 0x377F0683)
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24

_leaf_head = Struct(">BHHHB")
_frame_head = Struct(">IIII")  # page number, size after a commit, two salts; two checksums follow
_u32 = Struct(">I")


class Pages:
    """Images of pages by number: the newest of the log first, then the file's own."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be read."""
        self._file = path.open("rb")
        log = path.with_name(f"{path.name}-wal")
        self._log = log.open("rb") if log.exists() else None
        self._head = self._file.read(HEADER_BYTES)
        self.page_bytes = self._page_bytes()
        self._frames = self._read_frames()
        self.count = max([path.stat().st_size // self.page_bytes, *self._frames])
        self._free: set[int] = set()
        self._free = self._freelist()

    def close(self) -> None:
        self._file.close()
        if self._log:
            self._log.close()

    def images(self, number: int) -> Iterator[bytes]:
        """All images of a page, newest first; none of one that the file says is free."""
        if number in self._free:
            return
        for offset in reversed(self._frames.get(number, ())):
            assert self._log is not None  # noqa: S101 - where frames are, a log is
            yield _read(self._log, offset, self.page_bytes)
        yield _read(self._file, (number - 1) * self.page_bytes, self.page_bytes)

    def cells(self, number: int) -> Iterator[tuple[int, bytes]]:
        """Rowid and payload of each row of the page's newest image; of older ones, too, if that is damaged."""
        for image in self.images(number):
            whole = True
            for place in self._cell_places(image, HEADER_BYTES if number == 1 else 0):
                try:
                    yield self._cell(image, place)
                except (IndexError, ValueError):
                    whole = False
            if whole and image.strip(b"\0"):
                return

    def _cell_places(self, image: bytes, start: int) -> Iterator[int]:
        if len(image) < self.page_bytes or image[start] != LEAF:
            return
        _, _, count, _, _ = _leaf_head.unpack_from(image, start)
        first = start + _leaf_head.size
        for at in range(first, min(first + 2 * count, len(image) - 1), 2):
            yield unpack_from(">H", image, at)[0]

    def _cell(self, image: bytes, place: int) -> tuple[int, bytes]:
        """A row's cell (section 1.6, table b-tree leaf cell). Raises `IndexError` or `ValueError`."""
        size, place = varint(image, place)
        rowid, place = varint(image, place)
        if size > PAYLOAD_BYTES_MAX:
            raise ValueError("no batch is so long")
        usable = self.page_bytes
        most, least = usable - 35, (usable - 12) * 32 // 255 - 23
        if size <= most:
            return rowid, image[place : place + size]
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
        parts = [image[place : place + local]]
        following = image[place + local : place + local + 4]
        return rowid, b"".join([*parts, *self._overflow(following, size - local)])

    def _overflow(self, pointer: bytes, left: int) -> Iterator[bytes]:
        """The rest of a payload, along its chain of pages (section 1.6, overflow pages)."""
        while left > 0:  # each page takes some off, so a chain that bites its tail ends, too
            (number,) = _u32.unpack(pointer) if len(pointer) == 4 else (0,)
            image = next(self.images(number), b"") if 0 < number <= self.count else b""
            if len(image) < self.page_bytes:
                raise ValueError("the chain is broken")
            yield image[4 : 4 + left]
            pointer, left = image[:4], left - (self.page_bytes - 4)

    def _page_bytes(self) -> int:
        if self._head.startswith(MAGIC):
            (size,) = unpack_from(">H", self._head, 16)
            size = 65536 if size == 1 else size
        else:
            size = _u32.unpack_from(_read(self._log, 0, WAL_HEADER_BYTES), 8)[0] if self._has_log_head() else PAGE_BYTES
        return size if size in {1 << power for power in range(9, 17)} else PAGE_BYTES

    def _has_log_head(self) -> bool:
        head = _read(self._log, 0, WAL_HEADER_BYTES)
        return len(head) == WAL_HEADER_BYTES and _u32.unpack_from(head)[0] in WAL_MAGICS

    def _read_frames(self) -> dict[int, list[int]]:
        """Page number → where its images are in the log, oldest first (section 4.1).

        Frames of another salt are left from before the log began anew. Checksums are not looked at: a frame
        that is damaged costs what it holds, but SQLite would leave out all that follow it.
        """
        frames: dict[int, list[int]] = {}
        if self._log is None:
            return frames
        head = _read(self._log, 0, WAL_HEADER_BYTES)
        salts = head[16:24] if self._has_log_head() else _read(self._log, WAL_HEADER_BYTES + 8, 8)
        step = FRAME_HEADER_BYTES + self.page_bytes
        place = WAL_HEADER_BYTES
        while len(frame := _read(self._log, place, FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
            number = _u32.unpack_from(frame)[0]
            if frame[8:16] == salts and 0 < number < 1 << 31:
                frames.setdefault(number, []).append(place + FRAME_HEADER_BYTES)
            place += step
        return frames

    def _freelist(self) -> set[int]:
        """Pages that hold nothing any more (section 1.5), as far as the list can be followed."""
        free: set[int] = set()
        head = next(self.images(1), b"")
        trunk = _u32.unpack_from(head, 32)[0] if head.startswith(MAGIC) else 0
        while 0 < trunk <= self.count and trunk not in free:
            free.add(trunk)
            image = next(self.images(trunk), b"")
            if len(image) < self.page_bytes:
                break
            trunk, leaves = unpack_from(">II", image)
            leaves = min(leaves, self.page_bytes // 4 - 2)
            free.update(unpack_from(f">{leaves}I", image, 8))
        return free


def varint(data: bytes, place: int) -> tuple[int, int]:
    """SQLite's integer of 1 to 9 bytes, and where it ends. Raises `IndexError` at the data's end."""
    value = 0
    for _ in range(8):
        byte = data[place]
        place += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place
    return value << 8 | data[place], place + 1


def _read(file: BinaryIO | None, place: int, size: int) -> bytes:
    if file is None:
        return b""
    file.seek(place)
    return file.read(size)
