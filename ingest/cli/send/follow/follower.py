"""Sends the lines of a growing file, until it is stopped."""

import time
from typing import Any

from ingest.cli.send.follow.batch import Batch, RefusedLine
from ingest.cli.send.follow.followed_file import FollowedFile
from ingest.cli.send.follow.rejects import FollowRejects
from ingest.cli.send.follow.rotation import FollowedFiles
from ingest.cli.send.follow.state_file import FollowState, StateFile
from ingest.cli.send.poster import SendFailed, headers_of
from ingest.cli.send.service import NoAnswer, Reply, Service
from ingest.cli.send.waiting import Contact, Say, Waiting
from ingest.clock import Monotonic
from ingest.http.batch_handler import PATH

POLL_SECONDS = 0.5
"""Interval at which the follower looks at its files, also during an outage."""
SAVE_SECONDS = 10.0
"""Interval at which the follower saves what it has seen but cannot send, to tell what is missing if it goes."""
TOO_LARGE = 413
TOO_LARGE_ERROR = "The request with this line alone is too large for the service, or for a proxy before it."


class Follower:
    """Posts a batch, notes its refused lines, and saves the progress; then the next one.

    A kill between these steps repeats the batch under its key. The service stores no line twice then.
    """

    def __init__(
        self,
        file: StateFile,
        service: Service,
        batch: int,
        per_second: float | None,
        waiting: Waiting,
        say: Say,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        """Raises `SendFailed` and `OSError`."""
        self._file = file
        self.state: FollowState = file.read()
        self._files = FollowedFiles(file.file, self.state, say, monotonic)
        self._rejects = FollowRejects(file.file, {mark.key for mark in self.state.files})
        self._service = service
        self._contact = Contact(service.url, say)
        self._waiting = waiting
        self._monotonic = monotonic
        self._batch = batch
        self._lines_max = self.state.batch = max(batch, self.state.batch)  # the first batch may already be posted
        self._per_second = per_second
        self._save_at = 0.0
        self.sent = 0
        """Events of this run."""

    def run(self) -> None:
        """Send until the user stops the command. Raises `SendFailed` and `OSError`."""
        self._files.look()
        self._save()
        try:
            while not self._waiting.is_stopped:
                found = self._files.next_batch(self._lines_max)
                self._wait(self._send(*found) if found else POLL_SECONDS)
            self._save()
        finally:
            self._files.close()

    def _send(self, file: FollowedFile, batch: Batch) -> float:
        """Send one batch. Return the pause until the next one."""
        refused = list(batch.refused)
        if batch.events:
            if not batch.offset:
                self._save()  # the beginning, by which a copy of the file is recognized
            items = self._post(file, batch)
            if not isinstance(items, list):
                return items
            refused += [RefusedLine(batch.numbers[i["index"]], batch.events[i["index"]], i["errors"]) for i in items]
        self._rejects.add(file.mark.key, sorted(refused, key=lambda one: one.line))
        file.mark.advance(batch.end, batch.line, batch.tail)
        self._count(len(batch.events) + len(batch.refused), len(refused))
        self._save()
        return len(batch.events) / self._per_second if self._per_second else 0.0

    def _count(self, lines: int, refused: int) -> None:
        self.sent += lines
        self.state.accepted += lines - refused
        self.state.rejected += refused
        self._lines_max = self.state.batch = self._batch

    def _post(self, file: FollowedFile, batch: Batch) -> list[dict[str, Any]] | float:
        """Return the refused items, or the pause until the next attempt."""
        key = f"{file.mark.key}-{batch.offset}"
        try:
            reply = self._service.post(PATH, b"\n".join(batch.events), headers_of(key))
        except NoAnswer as exc:
            return self._contact.lose(str(exc))
        items = reply.answer.get("rejected")
        if reply.status in (200, 422) and isinstance(items, list):
            if left := [item for item in items if item.get("retry")]:
                return self._contact.lose(_reason(left, batch), reply.wait_seconds)
            self._contact.restore()
            return items
        return self._failed(reply, batch)

    def _failed(self, reply: Reply, batch: Batch) -> list[dict[str, Any]] | float:
        """Nothing of the batch was stored. Return what `_post` returns, or raise `SendFailed`."""
        if reply.status == TOO_LARGE and len(batch.events) == 1:
            return [{"index": 0, "errors": {"event": [TOO_LARGE_ERROR]}}]
        if reply.status == TOO_LARGE:
            self._lines_max = max(1, len(batch.events) // 2)
            return 0.0
        if reply.may_succeed_later:
            return self._contact.lose(reply.reason, reply.wait_seconds)
        raise SendFailed(f"The service {reply.reason}. The progress is saved: run the same command again.")

    def _wait(self, seconds: float) -> None:
        """Wait, and look at the files meanwhile: they may be rotated several times during an outage."""
        until = self._monotonic() + seconds
        while True:
            if self._files.look() or self._monotonic() >= self._save_at:
                self._save()
            left = until - self._monotonic()
            if left <= 0 or self._waiting.is_stopped:
                return
            self._waiting.pause(min(POLL_SECONDS, left))

    def _save(self) -> None:
        self._file.write(self.state)
        self._save_at = self._monotonic() + SAVE_SECONDS


def _reason(left: list[dict[str, Any]], batch: Batch) -> str:
    """Name the first event that was not stored, and its errors."""
    return (
        f"{len(left)} events were not stored, first that of line {batch.numbers[left[0]['index']]}: {left[0]['errors']}"
    )
