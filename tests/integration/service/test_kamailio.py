"""Real calls through a SIP proxy that is configured as in docs/clients. Each call becomes two rows and two messages."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import StartService
from tests.faults.harness.reading import backlog_of, payloads_of, rows_of, take_messages
from tests.paths import DOCS
from tests.running import TOKEN, ServiceProcess
from tests.services import wait_until
from tests.services.sip import call, call_as, kamailio

CONFIGURATION = DOCS / "clients" / "kamailio.cfg"
CALLS = 1000
CALLS_PER_SECOND = 250
POSTED_SECONDS = 60.0


HOSTILE_USERS = {
    **{
        text.encode(): text
        for text in ("$def(EVENTS_TOKEN)", "$1", "$(env(PATH))", "$Ts", "$var(event)", "$(var(to){s.len})", "%s%n$$")
    },
    b"caf\xe9": "caf%e9",
    b"": "unknown",
}
"""A caller's text in From, To and Call-ID → the same text in the event. The texts are pseudo-variables and formats of
Kamailio, a byte of Latin-1, and nothing."""


def test_all_calls_through_a_real_proxy_become_events(
    start_service: StartService, full_settings: Mapping[str, str], tmp_path: Path
) -> None:
    service = start_service()
    service.wait_for_status("ready")
    defines = {
        "EVENTS_URL": f'"http://127.0.0.1:{service.port}/api/call-events"',
        "EVENTS_TOKEN": f'"{TOKEN}"',
    }
    with kamailio(CONFIGURATION, tmp_path, defines) as port:
        call(port, CALLS, CALLS_PER_SECOND, tmp_path)
        assert wait_until(lambda: len(rows_of(full_settings["DATABASE_URL"])) >= 2 * CALLS, POSTED_SECONDS)
    assert wait_until(lambda: backlog_of(full_settings["DATABASE_URL"]) == 0, POSTED_SECONDS)

    events = [json.loads(body) for _, body in take_messages(full_settings["BROKER_URL"], full_settings["QUEUE"])]
    assert Counter(event["event_type"] for event in events) == {"call_answered": CALLS, "call_ended": CALLS}
    assert Counter(Counter(event["call_id"] for event in events).values()) == {2: CALLS}
    assert len(rows_of(full_settings["DATABASE_URL"])) == 2 * CALLS
    assert {(event["from_number"], event["to_number"]) for event in events} == {("sipp", "service")}


def test_proxy_does_not_interpret_a_callers_text(service: ServiceProcess, tmp_path: Path) -> None:
    defines = {
        "EVENTS_URL": f'"http://127.0.0.1:{service.port}/api/call-events"',
        "EVENTS_TOKEN": f'"{TOKEN}"',
    }
    database = service.environment["INGEST_DATABASE_URL"]
    before = len(rows_of(database))
    with kamailio(CONFIGURATION, tmp_path, defines) as port:
        for user in HOSTILE_USERS:
            call_as(user, port, tmp_path)
        wait_until(lambda: len(rows_of(database)) == before + 2 * len(HOSTILE_USERS), POSTED_SECONDS)

    events = [json.loads(payload) for payload in payloads_of(database)[before:]]
    assert Counter(event["from_number"] for event in events) == dict.fromkeys(HOSTILE_USERS.values(), 2)
    assert Counter(event["to_number"] for event in events) == dict.fromkeys(HOSTILE_USERS.values(), 2)
    assert TOKEN not in str(events)
    assert all(event["call_id"].startswith(event["from_number"].replace("unknown", "///")) for event in events)
