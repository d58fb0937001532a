"""One request to a service: its answer, and what a client concludes from the status."""

import json
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple

from ingest.cli.send.waiting import ASKED_SECONDS_MAX
from ingest.cli.shell.service_url import Target, explained, parts_of
from ingest.errors import IngestError, SettingsError

ANSWER_SECONDS = 30.0
"""Maximum wait for an answer."""
RETRIED_STATUSES = {408, 429, 500, 502, 503, 504}
MESSAGE_BYTES_MAX = 200
"""The part of an answer in another form that a message shows."""
PAGE_BEGINNINGS = (b"<!doctype html", b"<html")


class NoAnswer(IngestError):
    """The service did not answer."""

    code = "no_answer"


class WrongProtocol(NoAnswer):
    """TLS failed: a retry does not help, unless the service gets another certificate."""


class Reply(NamedTuple):
    status: int
    wait_seconds: float
    """The pause that the service asks for; 0 without one."""
    answer: dict[str, Any]
    """The JSON object of the answer. Another answer becomes the text of `message`."""
    is_page: bool
    """True if the answer is a web page. A proxy or a login page sent it, not the service."""

    @property
    def may_succeed_later(self) -> bool:
        return self.status in RETRIED_STATUSES or (self.is_page and self.status < 300)

    @property
    def reason(self) -> str:
        return f"answered {self.status}: {self.answer.get('message') or 'no message'}"


class Service:
    """Posts over one connection, and opens another one when it is lost."""

    def __init__(self, target: Target, token: str) -> None:
        """Raises `SettingsError`."""
        parts = parts_of(target.url)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise SettingsError(f"--url {target.url!r} has a path. Give the service's address only: http://host:port.")
        if not (token.isascii() and token.isprintable()):
            raise SettingsError("The token has characters that no HTTP header can have. Was more than it copied?")
        self._connection = (
            HTTPSConnection(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS, context=target.tls)
            if parts.scheme == "https"
            else HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
        )
        self._is_used = False
        self._token = token
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def post(self, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post once. Raises `NoAnswer`.

        The service may have closed a connection that was idle. So a request that fails on a used connection is sent
        again on a new one; its idempotency key makes that safe.
        """
        while True:
            was_used = self._is_used
            try:
                return self._once(target, body, {"X-API-TOKEN": self._token, **headers})
            except (OSError, HTTPException) as exc:
                self._connection.close()
                self._is_used = False
                if not was_used or isinstance(exc, TimeoutError):
                    kind = WrongProtocol if isinstance(exc, ssl.SSLError) else NoAnswer
                    raise kind(f"no answer: {explained(exc)}") from exc

    def connect(self) -> None:
        """Connect before the first request. Raises `NoAnswer`."""
        try:
            self._connection.connect()
            self._is_used = True  # the service may close it while it is idle
        except OSError as exc:
            raise NoAnswer(f"no answer: {explained(exc)}") from exc

    def close(self) -> None:
        self._connection.close()

    def _once(self, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self._connection.request("POST", target, body, dict(headers))
        response = self._connection.getresponse()
        content = response.read()
        self._is_used = True
        try:
            answer = dict(json.loads(content))
        except (ValueError, TypeError):
            answer = {"message": content[:MESSAGE_BYTES_MAX].decode(errors="replace")}
        is_page = content.lstrip()[:20].lower().startswith(PAGE_BEGINNINGS)
        return Reply(response.status, _seconds(response.headers.get("Retry-After")), answer, is_page)


def _seconds(text: str | None, now: float | None = None) -> float:
    """Return the seconds of `Retry-After`, which is a number, or the date of a proxy. Anything else counts as 0."""
    if not text:
        return 0.0
    try:
        if text.isascii() and text.isdecimal():
            asked = float(text[:20])
        else:
            asked = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
    except (ValueError, OverflowError):
        return 0.0
    return min(max(asked, 0.0), ASKED_SECONDS_MAX)
