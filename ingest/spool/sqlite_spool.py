"""Reads the spools of older versions: SQLite files. A killed worker also left SQLite's log (WAL).

SQLite silently stops at the first frame of a log whose checksum is wrong. So the reader corrects the checksums in a
copy of the log, and reads again. The batches' own checksums then tell which rows are whole.
"""

import shutil
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from struct import pack, unpack_from
from sys import byteorder

from ingest.events.batch_codec import unpack_one
from ingest.spool.records import Record, Refused

TABLES = {
    "spool": "SELECT first_id, count, lease_until, CAST(batch AS BLOB) FROM spool",
    "refused": "SELECT first_id, count, reason, CAST(batch AS BLOB) FROM refused",
}
WAL_BYTES_MAX = 64 << 20
"""SQLite keeps a log at about 4 MiB. A longer one than this is not corrected."""
WAL_MAGIC, WAL_VERSION = 0x377F0682, 3007000
HEADER_BYTES, FRAME_BYTES, PAGE_BYTES = 32, 24, 4096
WAIT_SECONDS = 5.0


class Reading:
    """Yields each whole row once. Afterwards `whole` is False if some rows could not be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[tuple[str, int]] = set()
        self.whole = True

    def rows(self) -> Iterator[Record | Refused]:
        """Raises `OSError` if the file cannot be opened."""
        yield from self._rows_of(self._path)
        if log := _mended(self._path.with_name(f"{self._path.name}-wal"), self._path.stat().st_size):
            self.whole = False
            copy = self._path.with_name(f"{self._path.name}.reading")
            try:
                copy.unlink(missing_ok=True)
                _link_or_copy(self._path, copy)
                copy.with_name(f"{copy.name}-wal").write_bytes(log)
                yield from self._rows_of(copy)
            finally:
                for path in copy.parent.glob(f"{copy.name}*"):
                    path.unlink()

    def _rows_of(self, path: Path) -> Iterator[Record | Refused]:
        try:
            uri = f"{path.resolve().as_uri()}?mode=ro"
            # Each chunk of rows may be read in another thread, one after another.
            with closing(sqlite3.connect(uri, timeout=WAIT_SECONDS, uri=True, check_same_thread=False)) as connection:
                for table, sql in TABLES.items():
                    yield from self._new_ones(connection, table, sql)
        except sqlite3.Error:
            self.whole = False

    def _new_ones(self, connection: sqlite3.Connection, table: str, sql: str) -> Iterator[Record | Refused]:
        """Read from both ends, as a query stops at a damaged page."""
        for order in ("ASC", "DESC"):
            try:
                for row in connection.execute(f"{sql} ORDER BY first_id {order}"):
                    if (table, row[0]) not in self._seen and (table == "refused" or self._is_whole(row)):
                        self._seen.add((table, row[0]))
                        yield Record(*row) if table == "spool" else Refused(*row)
                return
            except sqlite3.Error as exc:
                if "no such table" in str(exc):
                    return
                self.whole = False

    def _is_whole(self, row: tuple[int, int, object, bytes]) -> bool:
        batch = unpack_one(row[3])
        whole = batch is not None and (batch.first_id, len(batch)) == row[:2]
        self.whole = self.whole and whole
        return whole


def _link_or_copy(path: Path, copy: Path) -> None:
    try:
        copy.hardlink_to(path)
    except OSError:  # the file system has no hard links
        shutil.copyfile(path, copy)


def _mended(path: Path, file_bytes: int) -> bytes | None:
    """The log with correct checksums; None if SQLite can read all of it as it is."""
    if not path.exists() or not HEADER_BYTES < path.stat().st_size <= WAL_BYTES_MAX:
        return None
    content = path.read_bytes()
    big = content[3] & 1
    header = pack(">4I", WAL_MAGIC | big, WAL_VERSION, PAGE_BYTES, *unpack_from(">I", content, 12))
    step = FRAME_BYTES + PAGE_BYTES
    places = range(HEADER_BYTES, len(content) - step + 1, step)
    salts = [content[place + 8 : place + 16] for place in places]
    own = content[16:24]
    if content[:HEADER_BYTES] != _summed(header + own, b"", 0, 0, big)[0]:
        own = salts[0] if salts else own
    last = max((at for at, salt in enumerate(salts) if salt == own), default=-1)  # later frames are of an earlier round
    pages_max = file_bytes // PAGE_BYTES + last + 1
    mended, first, second = _summed(header + own, b"", 0, 0, big)
    parts = [mended]
    for place in places[: last + 1]:
        if 0 < unpack_from(">I", content, place)[0] <= pages_max:
            page = content[place + FRAME_BYTES : place + step]
            frame, first, second = _summed(content[place : place + 8], own, first, second, big, page)
            parts += frame, page
    mended = b"".join(parts)
    return None if content.startswith(mended) else mended


def _summed(head: bytes, salts: bytes, first: int, second: int, big: int, page: bytes = b"") -> tuple[bytes, int, int]:
    """A header with its checksum, and the sums for the next header (Database File Format, section 4.2)."""
    words = array("I", head + page)
    if (byteorder == "big") != bool(big):
        words.byteswap()
    for at in range(0, len(words), 2):
        first = first + words[at] + second & 0xFFFFFFFF
        second = second + words[at + 1] + first & 0xFFFFFFFF
    return head + salts + pack(">II", first, second), first, second
