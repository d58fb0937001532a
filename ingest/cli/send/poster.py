"""Posts batches of events to a service, again and again where that may help."""

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
"""Of one batch, with growing pauses between, a minute in all."""
AGAIN = {408, 429, 500, 502, 503, 504}
REMEMBERED = "What was sent is remembered: run the same command again."


class SendFailed(IngestError):
    """The events could not be sent."""

    code = "send"


class Refused(SendFailed):
    """The service refused the whole batch at its first try, so nothing of it was kept."""


class Poster:
    """Posts batches over one connection, which is opened again when it was lost."""

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
                left = sum(bool(item.get("retry")) for item in answer.get("rejected", ()))
                if status in (200, 422) and not left:
                    return answer
                reason = f"answered {status}: {answer.get('message') or f'{left} events were not kept'}"
                if status not in AGAIN and not left:
                    raise (SendFailed if attempt else Refused)(f"The service {reason}. {REMEMBERED}")
            self._sleep(max(wait, min(PAUSE_SECONDS_MAX, 0.1 * 2**attempt)))
        raise SendFailed(f"The service {reason}. {REMEMBERED}")

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
    """A date, which a proxy may send, is no number."""
    return float(text) if text and text.isdecimal() else 0.0
