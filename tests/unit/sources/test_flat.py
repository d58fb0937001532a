"""The short way of flat bodies: it is taken for the usual request, and gives the same event as the long way."""

import json
from typing import Any

import pytest

from ingest.sources.flat import FlatMapper, flat_mapper
from tests.fuzz.sources import check_all_sources
from tests.unit.sources.calls import FORMS

KAMAILIO = {
    "call_id": "1@pbx",
    "from_number": "+1",
    "to_number": "+2",
    "event_type": "call_started",
    "timestamp": "2025-01-31T13:45:00Z",
    "sip_code": 200,
}
JAMBONZ = {"call_sid": "6e2a", "from": "1", "to": "2", "call_status": "completed", "duration": 17}


def mapper(source: str) -> FlatMapper:
    made = flat_mapper(source, FORMS[source])
    assert made
    return made


def is_short(source: str, fields: dict[str, Any]) -> bool:
    return mapper(source).event(json.dumps(fields).encode()) is not None


def test_usual_requests_take_it() -> None:
    assert is_short("kamailio", KAMAILIO)
    assert is_short("jambonz", JAMBONZ)
    assert not [name for name in ("freeswitch", "telnyx", "twilio", "vonage") if flat_mapper(name, FORMS[name])]


def test_event() -> None:
    body = json.dumps(JAMBONZ).encode()

    found = mapper("jambonz").event(b" " + body + b"\r\n")

    assert found
    event = json.loads(found.event.payload)
    assert event == {
        "call_id": "6e2a",
        "from_number": "1",
        "to_number": "2",
        "event_type": "call_ended",
        "timestamp": event["timestamp"],
        "duration": 17,
        "client": "jambonz",
        "original": JAMBONZ,
    }
    assert not found.has_time


@pytest.mark.parametrize(
    "changes",
    [
        {"call_id": " 1"},
        {"call_id": 5},
        {"call_id": ""},
        {"call_id": "x" * 256},
        {"from_number": None},
        {"from_number": "1\n"},
        {"to_number": "é"},
        {"event_type": "x" * 65},
        {"timestamp": "soon"},
        {"timestamp": ""},
        {"timestamp": "2025-01-31 13:45:00"},
        {"duration": "47"},
        {"duration": -1},
        {"more": {"a": 1}},
        {"more": [1]},
        {"more": 10**400},
        {"more": 'a"b'},
    ],
    ids=str,
)
def test_other_requests_take_the_long_way(changes: dict[str, Any]) -> None:
    assert not is_short("kamailio", KAMAILIO | changes)
    check_all_sources(json.dumps(KAMAILIO | changes).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": "call_ended"},
        {"event_type": "call_ended", "duration": 5},
        {"duration": None},
        {"timestamp": "2025-01-31t13:45:00.123456789+0400"},
        {"from_number": "a b"},
        {"from_number": "x" * 128},
        {"more": "}"},
    ],
    ids=str,
)
def test_both_ways_give_the_same(changes: dict[str, Any]) -> None:
    assert is_short("kamailio", KAMAILIO | changes)
    check_all_sources(json.dumps(KAMAILIO | changes).encode())
