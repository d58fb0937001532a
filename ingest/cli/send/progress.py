"""The progress of `ingest send`, which is kept beside the file, and the file of rejected events."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ingest.cli.send.event_file import checked, continues_a_line, digest_of
from ingest.cli.send.poster import SendFailed
from ingest.files.atomic import replace_file


class Progress(msgspec.Struct):
    """Which lines were sent, and how the rest is cut into batches."""

    file: str
    """Digest of the whole file at the start. The keys of its batches begin with it."""
    line: int = 0
    accepted: int = 0
    rejected: int = 0
    batch: int = 0
    """Events in a batch; 0 if the next batch may have any size."""
    sending: int = 0
    """Last line of a batch that may already be posted; 0 if `batch` determines it."""
    bytes: int = 0
    """Size of the file up to `line`. These bytes must not change."""
    digest: str = ""
    """Digest of these bytes."""
    sending_bytes: int = 0
    """Size of the file up to `sending`."""
    sending_digest: str = ""
    """Digest of the file up to `sending`."""
    url: str = ""

    @property
    def unchanged(self) -> tuple[int, str]:
        """How many bytes of the file must not change, and their digest; empty if unknown."""
        return (self.sending_bytes, self.sending_digest) if self.sending else (self.bytes, self.digest)


class ProgressFile:
    """FILE.sent."""

    def __init__(self, path: Path) -> None:
        self._events = path
        self._path = path.with_name(path.name + ".sent")

    def exists(self) -> bool:
        return self._path.exists()

    def read(self) -> Progress:
        """Return where to continue, or the start if FILE.sent is missing.

        Raises `SendFailed` if FILE changed, and `FileUnreadable`.
        """
        digest_now = checked(self._events)
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except FileNotFoundError:
            return Progress(digest_now)
        except msgspec.MsgspecError as exc:
            raise SendFailed(f"{self._path.name} is not readable: delete it to start over.") from exc
        size, digest = found.unchanged
        if (digest_of(self._events, size) if size else digest_now) != (digest or found.file):
            raise SendFailed(
                f"{self._events.name} has changed since it was sent: delete {self._path.name} to start over."
            )
        if continues_a_line(self._events, size):
            line = found.sending or found.line
            raise SendFailed(f"Line {line} has grown since it was sent. Check first whether the service has its event.")
        return found

    def write(self, progress: Progress) -> None:
        try:
            replace_file(self._path, msgspec.json.encode(progress))
        except OSError as exc:
            raise SendFailed(f"{self._path.name} cannot be written ({exc.strerror}).") from exc


class Rejects:
    """FILE.rejected: each rejected event once, even if its batch is posted again."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".rejected")
        self._known: frozenset[int] | None = None

    def begin(self) -> None:
        """Ignore the file's content: it belongs to an earlier run of all lines."""
        self._known = frozenset()

    def add(self, rejected: Sequence[tuple[int, bytes, Any]], after_line: int) -> None:
        """Append line, event and errors of each, with an fsync.

        A killed run may have added lines after `after_line` already; they are skipped.
        """
        if self._known is None:
            self._known = frozenset(number for number in self._numbers() if number > after_line)
        new = [one for one in rejected if one[0] not in self._known]
        if not new:
            return
        with self._path.open("ab") as file:
            for number, event, errors in new:
                row = {"line": number, "errors": errors, "event": event.decode()}
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _numbers(self) -> Iterator[int]:
        """Yield the line numbers in the file. A last line that a killed run left incomplete is cut off."""
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        for line in whole.splitlines():
            with suppress(ValueError, TypeError, KeyError):
                yield int(json.loads(line)["line"])
