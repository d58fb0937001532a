"""Sends a file of events in batches, at a rate, and continues after an interruption."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ingest.cli.send.event_file import Line, Lines, events_of
from ingest.cli.send.poster import Poster, Refused, SendFailed
from ingest.cli.send.progress import Progress, ProgressFile, Rejects


class Sending:
    """Sends one file. After each batch it saves its progress and the rejected events beside the file.

    The service finds duplicates by the key of the batch and the position in it. So a batch that was perhaps posted
    before must be sent with the same events. FILE.sent keeps the borders of batches, whatever `batch` is now.
    """

    def __init__(self, path: Path, poster: Poster, batch: int, per_second: float | None) -> None:
        """Raises `SendFailed` or `FileUnreadable`."""
        self._path = path
        self._poster = poster
        self._per_second = per_second
        self._file = ProgressFile(path)
        self._rejects = Rejects(path)
        if not self._file.exists():
            self._rejects.begin()
        self.progress = self._file.read()
        self.notes = list(self._differences(batch))
        """Differences from the earlier run, for the user."""
        self._may_be_posted = self.progress.batch > 0
        """True if an earlier run perhaps posted the next batch."""
        self.progress.batch = self.progress.batch or batch
        self.sent = 0
        """Events of this run."""
        self.seconds = 0.0

    def run(self, report: Callable[[int], None]) -> Progress:
        """Send the rest of the file. After each batch `report` receives how many bytes of the file were read.

        Raises `SendFailed` or `FileUnreadable`.
        """
        with self._path.open("rb") as raw:
            _lock(raw)
            lines, began = Lines(raw), time.monotonic()
            for chunk in self._chunks(lines):
                self._send(chunk, lines)
                self._save_sent(chunk, lines)
                self.sent += len(chunk)
                report(lines.position)
                if os.fstat(raw.fileno()).st_size < lines.position:
                    raise SendFailed(f"{self._path.name} became shorter while it was sent: some events are missing.")
                if self._per_second:
                    time.sleep(max(0.0, began + self.sent / self._per_second - time.monotonic()))
            self.seconds = time.monotonic() - began
        return self.progress

    def _chunks(self, lines: Lines) -> Iterator[Sequence[Line]]:
        """Cut the rest into batches. If the first one was perhaps posted before, it ends at the same line."""
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
        """Post one batch. Its borders are saved first, unless they follow from the batches before."""
        progress, last = self.progress, chunk[-1][0]
        if not self.sent or len(chunk) < progress.batch:
            progress.sending, progress.url = last, self._poster.url
            progress.sending_bytes, progress.sending_digest = lines.position, lines.digest
            self._file.write(progress)
        key = f"{progress.file}-{chunk[0][0]}-{last}"
        try:
            rejected = self._poster.post([event for _, event in chunk], key).get("rejected", [])
        except Refused:
            if not self._may_be_posted:  # the service has no event of this batch, so a smaller one may replace it
                progress.batch = progress.sending = 0
                self._file.write(progress)
            raise
        self._may_be_posted = False
        self._rejects.add([(*chunk[item["index"]], item["errors"]) for item in rejected], progress.line)
        progress.accepted += len(chunk) - len(rejected)
        progress.rejected += len(rejected)

    def _save_sent(self, chunk: Sequence[Line], lines: Lines) -> None:
        progress = self.progress
        progress.line, progress.sending = chunk[-1][0], 0
        progress.bytes, progress.digest = lines.position, lines.digest
        self._file.write(progress)

    def _differences(self, batch: int) -> Iterator[str]:
        name, before = self._path.name, self.progress
        if before.batch not in (0, batch):
            yield f"{name} was started with --batch {before.batch}; this is kept, or events could be stored twice."
        if before.line and before.url not in ("", self._poster.url):
            yield f"{name} was sent to {before.url} up to line {before.line}; the rest goes to {self._poster.url}."


def _lock(file: BinaryIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SendFailed("Another `ingest send` is sending this file.") from None
    except OSError:
        return  # a file system without locks
