"""`ingest send`: post the events of a file by the batch, at a rate, and go on after an interruption where it was."""

import csv
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import msgspec

from ingest.atomic_file import replace_file
from ingest.batch_endpoint import PATH
from ingest.errors import IngestError, SettingsError

ANSWER_SECONDS = 30.0
PAUSE_SECONDS_MAX = 10.0
TRIES_MAX = 10
"""Of one batch, with growing pauses between, a minute in all."""
AGAIN = {408, 429, 500, 502, 503, 504}

Line = tuple[int, bytes]
"""The line's number in the file, from 1, and its event's JSON."""


class SendFailed(IngestError):
    """The events could not be sent."""

    code = "send"


class Progress(msgspec.Struct):
    """What is kept beside the file. `file` tells whether it is the same one."""

    file: str
    line: int = 0
    accepted: int = 0
    rejected: int = 0


class Poster:
    """Posts batches over one connection, which is opened again when it was lost."""

    def __init__(self, url: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"--url {url!r} is not of the form http://host:port.")
        connection = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = connection(parts.hostname, parts.port, timeout=ANSWER_SECONDS)
        self._token = token
        self._sleep = sleep

    def post(self, events: Sequence[bytes], key: str) -> dict[str, Any]:
        """The answer to a batch that was taken, or of which no event is valid. Raises `SendFailed`.

        It is sent again when it may help; `key` makes that safe.
        """
        reason = ""
        for attempt in range(TRIES_MAX):
            try:
                status, wait, answer = self._once(b"\n".join(events), key)
            except (OSError, HTTPException) as exc:
                self._connection.close()
                reason, wait = f"no answer: {exc or type(exc).__name__}", 0.0
            else:
                if status in (200, 422):
                    return answer
                reason = f"answered {status}: {answer.get('message')}"
                if status not in AGAIN:
                    break
            self._sleep(max(wait, min(PAUSE_SECONDS_MAX, 0.1 * 2**attempt)))
        raise SendFailed(f"The service {reason}. What was sent is remembered: run the same command again.")

    def _once(self, body: bytes, key: str) -> tuple[int, float, dict[str, Any]]:
        headers = {"X-API-TOKEN": self._token, "Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        self._connection.request("POST", PATH, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        try:
            answer = dict(json.loads(content))
        except (ValueError, TypeError):
            answer = {"message": content[:200].decode(errors="replace")}
        return response.status, float(response.headers.get("Retry-After", 0)), answer


def lines(file: TextIO, kind: str) -> Iterator[Line]:
    """The events of an open file: `csv`, whose first row names the fields, or NDJSON. Raises `SendFailed`."""
    return _csv_lines(file) if kind == "csv" else _json_lines(file)


def _json_lines(file: TextIO) -> Iterator[Line]:
    return ((number, line.strip().encode()) for number, line in enumerate(file, 1) if line.strip())


def _csv_lines(file: TextIO) -> Iterator[Line]:
    reader = csv.DictReader(file)
    try:
        for row in reader:
            fields: dict[str, Any] = {name: value for name, value in row.items() if name and value not in (None, "")}
            if fields.get("duration", "").isdecimal():
                fields["duration"] = int(fields["duration"])
            yield reader.line_num, json.dumps(fields, ensure_ascii=False).encode()
    except csv.Error as exc:
        raise SendFailed(f"Line {reader.line_num} is not CSV: {exc}.") from exc


class Sending:
    """A file on its way. After each batch what is done is written beside it, and what was rejected likewise."""

    def __init__(self, path: Path, poster: Poster, batch: int, per_second: float | None) -> None:
        self._path = path
        self._poster = poster
        self._batch = batch
        self._per_second = per_second
        self._state = path.with_name(path.name + ".sent")
        self._rejects = path.with_name(path.name + ".rejected")
        self.progress = self._recalled()
        self.sent = 0
        """Events of this run."""
        self.seconds = 0.0

    def run(self, told: Callable[[int], None]) -> Progress:
        """Send what was not sent yet. After each batch it is `told` how many bytes of the file are read.

        Raises `SendFailed`.
        """
        kind = "csv" if self._path.suffix.lower() == ".csv" else "ndjson"
        with self._path.open("rb") as raw, TextIOWrapper(raw, "utf-8", newline="" if kind == "csv" else None) as file:
            left = (line for line in lines(file, kind) if line[0] > self.progress.line)
            began = time.monotonic()
            while chunk := list(islice(left, self._batch)):
                self._send(chunk)
                self.sent += len(chunk)
                told(raw.tell())
                if self._per_second:
                    time.sleep(max(0.0, began + self.sent / self._per_second - time.monotonic()))
            self.seconds = time.monotonic() - began
        return self.progress

    def _send(self, chunk: Sequence[Line]) -> None:
        key = f"{self.progress.file}-{chunk[0][0]}-{chunk[-1][0]}"
        answer = self._poster.post([event for _, event in chunk], key)
        rejected = answer.get("rejected", [])
        if rejected:
            with self._rejects.open("a", encoding="utf-8") as file:
                for item in rejected:
                    number, event = chunk[item["index"]]
                    told = {"line": number, "errors": item["errors"], "event": event.decode()}
                    file.write(json.dumps(told, ensure_ascii=False) + "\n")
        self.progress.line = chunk[-1][0]
        self.progress.accepted += len(chunk) - len(rejected)
        self.progress.rejected += len(rejected)
        replace_file(self._state, msgspec.json.encode(self.progress))

    def _recalled(self) -> Progress:
        own = _fingerprint(self._path)
        try:
            found = msgspec.json.decode(self._state.read_bytes(), type=Progress)
        except FileNotFoundError:
            return Progress(own)
        except msgspec.MsgspecError as exc:
            raise SendFailed(f"{self._state.name} is not readable: delete it to begin anew.") from exc
        if found.file != own:
            raise SendFailed(
                f"{self._path.name} has changed since it was sent: delete {self._state.name} to begin anew."
            )
        return found


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
