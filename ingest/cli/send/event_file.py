"""Reads files of events: NDJSON, or CSV whose first row names the fields; both in UTF-8."""

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
"""The line's number in the file, from 1, and its event's JSON. An event of several lines has the last one's number."""


class FileUnreadable(IngestError):
    """The file's content is not what it should be."""

    code = "file"


class Lines:
    """The lines of an open file as text. Raises `FileUnreadable`, which names the line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha = sha256()
        self._number = 0
        self.position = 0
        """Bytes that were read."""

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
        """Of the bytes that were read."""
        return self._sha.hexdigest()[:DIGEST_CHARS]

    def _text(self, line: bytes) -> str:
        if len(line) > LINE_BYTES_MAX:
            raise FileUnreadable(f"Line {self._number} has more than {LINE_BYTES_MAX >> 20} MiB: that is no event.")
        if self._number == 1:
            if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                raise FileUnreadable("Line 1 begins as UTF-16: convert the file, iconv -f UTF-16 -t UTF-8.")
            line = line.removeprefix(BOM_UTF8)
        if b"\0" in line:
            raise FileUnreadable(f"Line {self._number} has a zero byte: is it UTF-16, or no text? Convert it to UTF-8.")
        try:
            return line.decode()
        except UnicodeDecodeError as exc:
            raise FileUnreadable(
                f"Line {self._number} is not UTF-8 (byte {exc.start + 1} of it): convert the file, "
                "such as by iconv -f LATIN1 -t UTF-8."
            ) from exc


def checked(path: Path) -> str:
    """The digest of a file whose every line can be read. Raises `FileUnreadable` for the first that cannot."""
    with path.open("rb") as file:
        lines = Lines(file)
        for _ in lines:
            pass
        return lines.digest


def digest_of(path: Path, size: int) -> str:
    """Of its first `size` bytes, or of all if it has fewer."""
    sha = sha256()
    with path.open("rb") as file:
        while size > 0 and (part := file.read(min(size, READ_BYTES))):
            sha.update(part)
            size -= len(part)
    return sha.hexdigest()[:DIGEST_CHARS]


def continues_a_line(path: Path, position: int) -> bool:
    """Whether the line that ended the file at that position has grown since."""
    if not position:
        return False
    with path.open("rb") as file:
        file.seek(position - 1)
        around = file.read(2)
    return len(around) == 2 and around[:1] != b"\n" and around[1:] not in (b"\n", b"\r")


def events_of(lines: Lines, kind: str) -> Iterator[Line]:
    """The events of a `csv` or an `ndjson` file. Reads no further than it has to."""
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
