"""Posts the events of a PBX one by one, no faster than its rate."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from ingest.cli.demo.pbx import HUNG_UP, MISSED, Pbx
from ingest.cli.send.service import NoAnswer, Reply
from ingest.cli.send.waiting import Contact, Waiting
from ingest.clock import Monotonic
from ingest.errors import IngestError
from ingest.events.idempotency import HEADER
from ingest.http.event_handler import PATH

UNAUTHENTICATED = 401
PAUSE_SECONDS_MIN = 1.0
"""The pause after a refusal that a later attempt may undo."""


class DemoFailed(IngestError):
    """The service takes no event of the demo."""

    code = "demo"


class Poster(Protocol):
    """`ingest.cli.send.service.Service`."""

    url: str

    def post(self, target: str, body: bytes, headers: Mapping[str, str]) -> Reply: ...


class Player:
    """After a delay it goes on at its rate, and does not catch up: it never floods a service."""

    def __init__(
        self,
        pbx: Pbx,
        service: Poster,
        events_per_second: float,
        waiting: Waiting,
        contact: Contact,
        monotonic: Monotonic,
        now: Callable[[], datetime],
    ) -> None:
        self._pbx = pbx
        self._service = service
        self._interval_seconds = 1 / events_per_second
        self._waiting = waiting
        self._contact = contact
        self._monotonic = monotonic
        self._now = now
        self.accepted = 0
        self.refused = 0
        """Attempts that the service refused, or did not answer."""

    def play(self, seconds: float, report: Callable[[float], None]) -> float:
        """Play for that time, or until the user asks to stop. Return the seconds played.

        `report` gets the seconds so far, before each event. Raises `DemoFailed`.
        """
        began = due = self._monotonic()
        while not self._waiting.is_stopped and self._monotonic() - began < seconds:
            report(self._monotonic() - began)
            if event := self._pbx.next_event(self._monotonic(), self._now()):
                self._deliver(event, began + seconds)
            due = max(due + self._interval_seconds, self._monotonic())
            self._waiting.pause(due - self._monotonic())
        return self._monotonic() - began

    def summary(self, seconds: float) -> str:
        pbx = self._pbx
        ended = pbx.outcomes
        return (
            f"{self.accepted:,} events accepted in {seconds:.0f} s, {self.accepted / max(seconds, 1e-3):.1f} a second; "
            f"{pbx.calls:,} calls: {pbx.answered:,} answered, {ended[MISSED]:,} missed, "
            f"{ended[HUNG_UP]:,} hung up early, {pbx.active:,} still going on; {self.refused:,} refusals"
        )

    def _deliver(self, event: Mapping[str, Any], until: float) -> None:
        """Post the event, again and again if that may help. Its idempotency key makes that safe."""
        headers = {"Content-Type": "application/json", HEADER: f"{event['call_id']}-{event['event_type']}"}
        while not self._waiting.is_stopped and self._monotonic() < until:
            try:
                reply = self._service.post(PATH, json.dumps(event).encode(), headers)
            except NoAnswer as exc:
                pause = self._lose(str(exc), 0.0)
            else:
                if reply.status == 200 and not reply.is_page:
                    self.accepted += 1
                    self._contact.restore()
                    return
                if not reply.may_succeed_later:
                    raise DemoFailed(self._refusal(reply))
                pause = self._lose(reply.reason, reply.wait_seconds)
            self._waiting.pause(pause)

    def _lose(self, reason: str, asked_seconds: float) -> float:
        """Count a failed attempt, and return the seconds until the next one."""
        if not self.accepted:
            raise DemoFailed(f"{self._service.url}: {reason}. Start the service first, or name its URL with --url.")
        self.refused += 1
        return max(PAUSE_SECONDS_MIN, self._contact.lose(reason, asked_seconds))

    def _refusal(self, reply: Reply) -> str:
        if reply.status == UNAUTHENTICATED:
            return (
                f"{self._service.url} does not know the token. "
                "Give the service's token with --token or in the variable CALL_EVENTS_TOKEN."
            )
        return f"{self._service.url} {reply.reason.rstrip('.')}. Is this the address for events?"
