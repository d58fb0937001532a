"""Posts batches of events to a service, with retries."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ingest.cli.send.service import RETRIED_STATUSES, NoAnswer, Service, WrongProtocol
from ingest.cli.shell.service_url import Target
from ingest.errors import IngestError
from ingest.http.batch_handler import PATH

PAUSE_SECONDS_MAX = 10.0
TRIES_MAX = 10
"""Attempts for one batch, with growing pauses of about a minute in total."""
PROGRESS_KEPT = "The progress is saved: run the same command again."


class SendFailed(IngestError):
    """The events could not be sent."""

    code = "send"


class Refused(SendFailed):
    """The service refused the whole batch at the first attempt, so it stored none of its events."""


def headers_of(key: str) -> dict[str, str]:
    """The headers of a batch in NDJSON."""
    return {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}


class Poster:
    """Posts batches, and tries again if that may help."""

    def __init__(self, target: Target, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._service = Service(target, token)
        self.url = self._service.url
        self._sleep = sleep

    def post(self, events: Sequence[bytes], key: str) -> dict[str, Any]:
        """Return the answer to a batch that was accepted, or in which no event is valid. Raises `SendFailed`.

        The batch is retried if a retry may help; `key`, the idempotency key, makes that safe.
        """
        reason = ""
        for attempt in range(TRIES_MAX):
            try:
                status, wait, answer, _ = self._service.post(PATH, b"\n".join(events), headers_of(key))
            except WrongProtocol as exc:
                raise SendFailed(f"{self.url}: {exc}. {PROGRESS_KEPT}") from exc
            except NoAnswer as exc:
                reason, wait = str(exc), 0.0
            else:
                left = sum(bool(item.get("retry")) for item in answer.get("rejected", ()))
                if status in (200, 422) and not left:
                    return answer
                reason = f"answered {status}: {answer.get('message') or f'{left} events were not stored'}"
                if status not in RETRIED_STATUSES and not left:
                    raise (SendFailed if attempt else Refused)(f"The service {reason}. {PROGRESS_KEPT}")
            self._sleep(max(wait, min(PAUSE_SECONDS_MAX, 0.1 * 2**attempt)))
        raise SendFailed(f"The service {reason}. {PROGRESS_KEPT}")
