"""Posts the records of a folder, once or until it is stopped."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ingest.cli.send.poster import SendFailed
from ingest.cli.send.records.folder import REJECTED, Record, RecordFolder
from ingest.cli.send.records.record import is_complete, request_of
from ingest.cli.send.service import NoAnswer, Reply, Service
from ingest.cli.send.waiting import Contact, Say, Waiting

WATCH_SECONDS = 2.0
"""Interval at which the command lists the folder with --follow."""
QUIET_SECONDS = 5.0
"""A file that was written within this time is perhaps not finished."""
INCOMPLETE_SECONDS_MAX = 600.0
"""A record without an end is posted after this time: its writer has died, and the service tells what is wrong."""
AWAY_FAILURES = 3
"""The service is away if this number of records in a row could not be stored. One alone may be the record's fault."""
PASSES_MAX = 10
"""Attempts without --follow, with growing pauses of about two minutes in total."""
RECORD_BYTES_MAX = 16 << 20
REFUSED_STATUSES = {400, 413, 415, 422}
"""With these statuses a retry of the record does not help."""


class Failure(NamedTuple):
    """Why a record could not be stored now."""

    reason: str
    asked_seconds: float = 0.0
    is_silence: bool = False
    """True if no answer came, so that the record is not the reason."""


class RecordSender:
    """Posts each record in a request of its own. A record leaves the folder only after the service's answer."""

    def __init__(
        self,
        folder: RecordFolder,
        client: str,
        service: Service,
        per_second: float | None,
        waiting: Waiting,
        say: Say,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._client = client
        self._service = service
        self._per_second = per_second
        self._waiting = waiting
        self._say = say
        self._now = now
        self._contact = Contact(service.url, say)
        self._failures: Counter[str] = Counter()
        """Name of a record → attempts that failed."""
        self._blamed: set[str] = set()
        """Records that failed while the service took others."""
        self.accepted = self.rejected = self.unfinished = 0

    def run(self) -> None:
        """Post the records that are there. Raises `SendFailed` if the service does not take them, and `OSError`."""
        for _ in range(PASSES_MAX):
            pause = self._pass()
            if not pause or self._waiting.is_stopped:
                return
            self._waiting.pause(pause)
        raise SendFailed("The service did not take all records. They are still there: run the same command again.")

    def follow(self) -> None:
        """Post records until the user stops the command. Raises `SendFailed` and `OSError`."""
        while not self._waiting.is_stopped:
            self._waiting.pause(self._pass() or WATCH_SECONDS)

    def _pass(self) -> float:
        """Try each record once. Return the pause until those that failed are tried again; 0 if none failed."""
        failed: dict[str, Failure] = {}
        taken = in_a_row = self.unfinished = 0
        for record in self._ordered():
            if self._waiting.is_stopped or in_a_row >= AWAY_FAILURES:
                break
            content = self._content(record)
            if content is None:
                self.unfinished += 1
            elif failure := self._post(record, content):
                failed[record.path.name], in_a_row = failure, in_a_row + 1
            else:
                taken, in_a_row = taken + 1, 0
        self._failures.update(failed.keys())
        return self._pause(failed, taken)

    def _ordered(self) -> list[Record]:
        """List the records, oldest first; those that failed before come last, so that they hold nothing up."""
        records = self._folder.records()
        names = {record.path.name for record in records}
        self._failures = Counter({name: count for name, count in self._failures.items() if name in names})
        self._blamed &= names
        return sorted(records, key=lambda record: self._failures[record.path.name])

    def _pause(self, failed: Mapping[str, Failure], taken: int) -> float:
        """Decide if the service is away, or if single records are the reason."""
        unexplained = [one for name, one in failed.items() if one.is_silence or not (taken or name in self._blamed)]
        if unexplained:
            return self._contact.lose(unexplained[0].reason, unexplained[0].asked_seconds)
        if taken:
            self._contact.restore()
        for name, failure in failed.items():
            if name not in self._blamed:
                self._say(f"{name}: {failure.reason}. It stays there, and the command tries it again.")
        self._blamed.update(failed)
        return WATCH_SECONDS if failed else 0.0

    def _content(self, record: Record) -> bytes | None:
        """Return the content, or None if the writer is perhaps not finished."""
        age_seconds = record.age_seconds(self._now())
        if age_seconds < QUIET_SECONDS:
            return None
        try:
            with record.path.open("rb") as file:
                content = file.read(RECORD_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        is_whole = len(content) > RECORD_BYTES_MAX or is_complete(content)
        if not is_whole and age_seconds < INCOMPLETE_SECONDS_MAX:
            return None
        return content if record.is_unchanged() else None

    def _post(self, record: Record, content: bytes) -> Failure | None:
        """Post the record and move it. Return why it is not stored, or None. Raises `SendFailed` and `OSError`."""
        if len(content) > RECORD_BYTES_MAX:
            self._reject(record, f"The record has more than {RECORD_BYTES_MAX >> 20} MiB.")
            return None
        try:
            reply = self._service.post(*request_of(self._client, record.path.name, content))
        except NoAnswer as exc:
            return Failure(str(exc), is_silence=True)
        if reply.may_succeed_later:
            return Failure(reply.reason, reply.wait_seconds)
        if reply.status < 300:
            self._accept(record)
        elif reply.status in REFUSED_STATUSES:
            self._reject(record, _errors(reply))
        else:
            raise SendFailed(f"The service {reply.reason}. The records are still there: run the same command again.")
        return None

    def _accept(self, record: Record) -> None:
        self.accepted += 1
        if record.is_unchanged():  # else it is another record now, which comes next
            self._folder.keep_sent(record)
        if self._per_second:
            self._waiting.pause(1 / self._per_second)

    def _reject(self, record: Record, reason: str) -> None:
        self.rejected += 1
        if record.is_unchanged():
            self._folder.keep_rejected(record, reason)
            self._say(f"{record.path.name}: refused, and moved to {REJECTED}/. {reason}")


def _errors(reply: Reply) -> str:
    errors = reply.answer.get("errors")
    return f"The service {reply.reason}" + (f" {json.dumps(errors, ensure_ascii=False)}" if errors else "")
