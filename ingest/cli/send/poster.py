"""Posts batches of events to a service, with retries."""

import json
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from ingest.errors import IngestError, SettingsError
from ingest.http.batch_handler import PATH

ANSWER_SECONDS = 30.0
PAUSE_SECONDS_MAX = 10.0
TRIES_MAX = 10
"""Attempts for one batch, with growing pauses of about a minute in total."""
RETRIED_STATUSES = {408, 429, 500, 502, 503, 504}
PROGRESS_KEPT = "The progress is saved: run the same command again."


class SendFailed(IngestError):
    """The events could not be sent."""

    code = "send"


class Refused(SendFailed):
    """The service refused the whole batch at the first attempt, so it stored none of its events."""


class Poster:
    """Posts batches over one connection. It reconnects when the connection is lost."""

    def __init__(self, url: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"--url {url!r} is not of the form http://host:port.")
        connection = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = connection(parts.hostname, parts.port, timeout=ANSWER_SECONDS)
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._token = token
        self._sleep = sleep

    def post(self, events: Sequence[bytes], key: str) -> dict[str, Any]:
        """Return the answer to a batch that was accepted, or in which no event is valid. Raises `SendFailed`.

        The batch is retried if a retry may help; `key`, the idempotency key, makes that safe.
        """
        reason = ""
        for attempt in range(TRIES_MAX):
            try:
                status, wait, answer = self._once(b"\n".join(events), key)
            except (OSError, HTTPException) as exc:
                self._connection.close()
                reason, wait = f"no answer: {exc or type(exc).__name__}", 0.0
            else:
                left = sum(bool(item.get("retry")) for item in answer.get("rejected", ()))
                if status in (200, 422) and not left:
                    return answer
                reason = f"answered {status}: {answer.get('message') or f'{left} events were not stored'}"
                if status not in RETRIED_STATUSES and not left:
                    raise (SendFailed if attempt else Refused)(f"The service {reason}. {PROGRESS_KEPT}")
            self._sleep(max(wait, min(PAUSE_SECONDS_MAX, 0.1 * 2**attempt)))
        raise SendFailed(f"The service {reason}. {PROGRESS_KEPT}")

    def _once(self, body: bytes, key: str) -> tuple[int, float, dict[str, Any]]:
        headers = {"X-API-TOKEN": self._token, "Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        self._connection.request("POST", PATH, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        try:
            answer = dict(json.loads(content))
        except (ValueError, TypeError):
            answer = {"message": content[:200].decode(errors="replace")}
        return response.status, _seconds(response.headers.get("Retry-After")), answer


def _seconds(text: str | None) -> float:
    """Return 0 for a date, which a proxy may send."""
    return float(text) if text and text.isdecimal() else 0.0
