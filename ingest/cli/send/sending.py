"""`ingest send`: post the events of a file by the batch, at a rate, and go on after an interruption where it was."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ingest.cli.send.event_file import Line, Lines, checked, continues_a_line, digest_of, events_of
from ingest.cli.send.poster import Poster, Refused, SendFailed
from ingest.files.atomic import replace_file


class Progress(msgspec.Struct):
    """What is kept beside the file: how far it came, and how batches are cut from there on."""

    file: str
    """Its digest when it was begun; the keys of its batches begin with it."""
    line: int = 0
    accepted: int = 0
    rejected: int = 0
    batch: int = 0
    """Events in a batch; 0 where the next one may have any size."""
    sending: int = 0
    """The last line of a batch that may be under way; 0 where that follows from `batch`."""
    bytes: int = 0
    """Of the file, up to `line`: they must not change."""
    digest: str = ""
    """Of these bytes."""
    sending_bytes: int = 0
    sending_digest: str = ""
    """The same up to `sending`."""
    url: str = ""

    @property
    def kept(self) -> tuple[int, str]:
        """How many bytes of the file must be as they were, and their digest; none where nothing is known of them."""
        return (self.sending_bytes, self.sending_digest) if self.sending else (self.bytes, self.digest)


class Sending:
    """A file on its way. After each batch what is done is written beside it, and what was rejected likewise.

    The service knows a repeat by its batch's key and its place in the batch. So a batch that may be under way when a
    run ends is sent again as it was: `.sent` keeps the borders of batches, which another `batch` does not change.
    """

    def __init__(self, path: Path, poster: Poster, batch: int, per_second: float | None) -> None:
        self._path = path
        self._poster = poster
        self._per_second = per_second
        self._state = path.with_name(path.name + ".sent")
        self._rejects = Rejects(path.with_name(path.name + ".rejected"))
        self.progress = self._recalled()
        self.notes = list(self._differences(batch))
        """What is to be said about how it goes on."""
        self._under_way = self.progress.batch > 0
        """Whether the next batch may have been posted by an earlier run."""
        self.progress.batch = self.progress.batch or batch
        self.sent = 0
        """Events of this run."""
        self.seconds = 0.0

    def run(self, told: Callable[[int], None]) -> Progress:
        """Send what was not sent yet. After each batch it is `told` how many bytes of the file are read.

        Raises `SendFailed` or `FileUnreadable`.
        """
        with self._path.open("rb") as raw:
            _lock(raw)
            lines, began = Lines(raw), time.monotonic()
            for chunk in self._chunks(lines):
                self._send(chunk, lines)
                self._note(chunk, lines)
                self.sent += len(chunk)
                told(lines.position)
                if os.fstat(raw.fileno()).st_size < lines.position:
                    raise SendFailed(
                        f"{self._path.name} became shorter while it was sent: what was cut off is missing."
                    )
                if self._per_second:
                    time.sleep(max(0.0, began + self.sent / self._per_second - time.monotonic()))
            self.seconds = time.monotonic() - began
        return self.progress

    def _chunks(self, lines: Lines) -> Iterator[Sequence[Line]]:
        """What is left, by the batch; the first one ends where it ended when it was posted before."""
        kind = "csv" if self._path.suffix.lower() == ".csv" else "ndjson"
        chunk: list[Line] = []
        for line in events_of(lines, kind):
            if line[0] <= self.progress.line:
                continue
            chunk.append(line)
            if len(chunk) == self.progress.batch or line[0] == self.progress.sending:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _send(self, chunk: Sequence[Line], lines: Lines) -> None:
        """The borders are noted before anything is posted by them; most batches' follow from those before."""
        progress, last = self.progress, chunk[-1][0]
        if not self.sent or len(chunk) < progress.batch:
            progress.sending, progress.url = last, self._poster.url
            progress.sending_bytes, progress.sending_digest = lines.position, lines.digest
            self._save()
        key = f"{progress.file}-{chunk[0][0]}-{last}"
        try:
            rejected = self._poster.post([event for _, event in chunk], key).get("rejected", [])
        except Refused:
            if not self._under_way:  # nothing of this batch is there, so it may become a smaller one
                progress.batch = progress.sending = 0
                self._save()
            raise
        self._under_way = False
        self._rejects.add([(*chunk[item["index"]], item["errors"]) for item in rejected], progress.line)
        progress.accepted += len(chunk) - len(rejected)
        progress.rejected += len(rejected)

    def _note(self, chunk: Sequence[Line], lines: Lines) -> None:
        progress = self.progress
        progress.line, progress.sending = chunk[-1][0], 0
        progress.bytes, progress.digest = lines.position, lines.digest
        self._save()

    def _save(self) -> None:
        try:
            replace_file(self._state, msgspec.json.encode(self.progress))
        except OSError as exc:
            raise SendFailed(f"{self._state.name} cannot be written ({exc.strerror}).") from exc

    def _recalled(self) -> Progress:
        own = checked(self._path)
        try:
            found = msgspec.json.decode(self._state.read_bytes(), type=Progress)
        except FileNotFoundError:
            self._rejects.begin()
            return Progress(own)
        except msgspec.MsgspecError as exc:
            raise SendFailed(f"{self._state.name} is not readable: delete it to begin anew.") from exc
        kept, digest = found.kept
        if (digest_of(self._path, kept) if kept else own) != (digest or found.file):
            raise SendFailed(
                f"{self._path.name} has changed since it was sent: delete {self._state.name} to begin anew."
            )
        if continues_a_line(self._path, kept):
            line = found.sending or found.line
            raise SendFailed(f"Line {line} has grown since it was sent: look for its event in the service first.")
        return found

    def _differences(self, batch: int) -> Iterator[str]:
        name, before = self._path.name, self.progress
        if before.batch not in (0, batch):
            yield f"{name} was begun with --batch {before.batch} and goes on so, or events could be stored twice."
        if before.line and before.url not in ("", self._poster.url):
            yield f"{name} was sent to {before.url} up to line {before.line}; the rest goes to {self._poster.url}."


class Rejects:
    """The file of what was rejected: each event once, also if its batch is posted again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: frozenset[int] | None = None

    def begin(self) -> None:
        """What is in the file is of an earlier time."""
        self._known = frozenset()

    def add(self, rejected: Sequence[tuple[int, bytes, Any]], after_line: int) -> None:
        """Lines, events and errors, durably. Those after `after_line` may have been added by a run that was killed."""
        if self._known is None:
            self._known = frozenset(number for number in self._numbers() if number > after_line)
        new = [one for one in rejected if one[0] not in self._known]
        if not new:
            return
        with self._path.open("ab") as file:
            for number, event, errors in new:
                told = {"line": number, "errors": errors, "event": event.decode()}
                file.write(json.dumps(told, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _numbers(self) -> Iterator[int]:
        """Of the lines in it; an end that a kill left is cut off."""
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        for line in whole.splitlines():
            with suppress(ValueError, TypeError, KeyError):
                yield int(json.loads(line)["line"])


def _lock(file: BinaryIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SendFailed("Another `ingest send` is sending this file.") from None
    except OSError:
        return  # a file system without locks
