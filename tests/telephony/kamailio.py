"""Calls through Kamailio with the configuration of docs/clients, whose callers may be hostile."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.paths import DOCS
from tests.running import TOKEN, ServiceProcess
from tests.services.places import Place
from tests.services.sip import kamailio
from tests.telephony.calls import CALLS, HOSTILE_CALLERS, Line, call_while_killed, events_left, parties

CONFIGURATION = DOCS / "clients" / "kamailio" / "kamailio.cfg"
TYPES = ("call_answered", "call_ended")
ASYNC = {"HTTP_ASYNC": ""}
"""The define with which the configuration uses http_async_client."""

HOSTILE_USERS = {
    **{
        text.encode(): text
        for text in (
            "$def(EVENTS_TOKEN)",
            "$1",
            "$(env(PATH))",
            "$Ts",
            "$var(event)",
            "$(var(to){s.len})",
            "%s%n$$",
            "a'b,c&d=e",
            "%0d%0aX-API-TOKEN%3a",
        )
    },
    b"caf\xe9": "caf%e9",
}
"""A caller's text in From, To and Call-ID → the same text in the event. The texts are pseudo-variables and formats of
Kamailio, signs of forms, an encoded line break, and a byte of Latin-1. Kamailio refuses quotes and backslashes.
"""


@contextmanager
def kamailio_line(port: int, folder: Path, place: Place | None = None, **defines: str) -> Iterator[Line]:
    """Run Kamailio, which posts to the port. `defines` are further values of its configuration."""
    url = f'"http://127.0.0.1:{port}/api/call-events"'
    given = {"EVENTS_URL": url, "EVENTS_TOKEN": f'"{TOKEN}"', **defines}
    with kamailio(CONFIGURATION, folder, given, place) as sip_port:
        yield Line(sip_port, folder, len(TYPES))


def check_calls(line: Line, service: ServiceProcess, settings: Mapping[str, str]) -> None:
    """Make ordinary calls and, among them, hostile ones, while the service is killed.

    Each call must have its events. A hostile caller's text must be text in them.
    """
    users = [*HOSTILE_USERS] * (HOSTILE_CALLERS // len(HOSTILE_USERS) + 1)
    hostile = [*users[: HOSTILE_CALLERS - 1], b""]

    assert call_while_killed(line, service, settings["DATABASE_URL"], hostile) == HOSTILE_CALLERS
    events = events_left(settings, CALLS + HOSTILE_CALLERS, TYPES)
    texts = [{**HOSTILE_USERS, b"": "unknown"}[user] for user in hostile]
    found = parties(events)
    assert found.pop(("sipp", "service")) == CALLS * len(TYPES)
    assert found == {(text, text): texts.count(text) * len(TYPES) for text in texts}
    of_hostile = [event for event in events if event["from_number"] != "sipp"]
    assert all(event["call_id"].startswith(event["from_number"].replace("unknown", "///")) for event in of_hostile)
