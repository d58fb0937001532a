"""Reads files of events in UTF-8: NDJSON, or CSV whose first row names the fields."""

import csv
import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from ingest.errors import IngestError

LINE_BYTES_MAX = 16 << 20
READ_BYTES = 1 << 20
DIGEST_CHARS = 16

Line = tuple[int, bytes]
"""Number of the line in the file, from 1, and the JSON of its event. An event on several lines has the last number."""


class FileUnreadable(IngestError):
    """The file does not have the expected content."""

    code = "file"


class Lines:
    """Iterates over the lines of an open file as text. Raises `FileUnreadable`, which names the line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha = sha256()
        self._number = 0
        self.position = 0
        """Number of bytes read."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(LINE_BYTES_MAX + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self.position += len(line)
        self._sha.update(line)
        return self._text(line)

    @property
    def digest(self) -> str:
        """Digest of the bytes read."""
        return self._sha.hexdigest()[:DIGEST_CHARS]

    def _text(self, line: bytes) -> str:
        if len(line) > LINE_BYTES_MAX:
            raise FileUnreadable(
                f"Line {self._number} has more than {LINE_BYTES_MAX >> 20} MiB, too long for an event."
            )
        if self._number == 1:
            if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                raise FileUnreadable("Line 1 begins as UTF-16: convert the file with iconv -f UTF-16 -t UTF-8.")
            line = line.removeprefix(BOM_UTF8)
        if b"\0" in line:
            raise FileUnreadable(
                f"Line {self._number} has a zero byte. Is it UTF-16, or not text? Convert it to UTF-8."
            )
        try:
            return line.decode()
        except UnicodeDecodeError as exc:
            raise FileUnreadable(
                f"Line {self._number} is not UTF-8 (at its byte {exc.start + 1}): convert the file, "
                "for example with iconv -f LATIN1 -t UTF-8."
            ) from exc


def checked(path: Path) -> str:
    """Read every line and return the digest of the file. Raises `FileUnreadable` for the first unreadable line."""
    with path.open("rb") as file:
        lines = Lines(file)
        for _ in lines:
            pass
        return lines.digest


def digest_of(path: Path, size: int) -> str:
    """Return the digest of the first `size` bytes, or of the whole file if it is smaller."""
    sha = sha256()
    with path.open("rb") as file:
        while size > 0 and (part := file.read(min(size, READ_BYTES))):
            sha.update(part)
            size -= len(part)
    return sha.hexdigest()[:DIGEST_CHARS]


def continues_a_line(path: Path, position: int) -> bool:
    """Tell if the last line of the earlier file, which ended at `position`, has grown since."""
    if not position:
        return False
    with path.open("rb") as file:
        file.seek(position - 1)
        around = file.read(2)
    return len(around) == 2 and around[:1] != b"\n" and around[1:] not in (b"\n", b"\r")


def events_of(lines: Lines, kind: str) -> Iterator[Line]:
    """Iterate over the events of a `csv` or an `ndjson` file. Reads no further than necessary."""
    return _csv_events(lines) if kind == "csv" else _json_events(lines)


def _json_events(lines: Lines) -> Iterator[Line]:
    return ((number, line.strip().encode()) for number, line in enumerate(lines, 1) if line.strip())


def _csv_events(lines: Lines) -> Iterator[Line]:
    reader = csv.DictReader(lines)
    try:
        for row in reader:
            fields: dict[str, Any] = {name: value for name, value in row.items() if name and value not in (None, "")}
            if fields.get("duration", "").isdecimal():
                fields["duration"] = int(fields["duration"])
            yield reader.line_num, json.dumps(fields, ensure_ascii=False).encode()
    except csv.Error as exc:
        raise FileUnreadable(f"Line {reader.line_num} is not CSV: {exc}.") from exc
