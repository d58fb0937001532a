"""OpenSIPS with the configuration of docs/clients.

Debian has no OpenSIPS, so it does not run here. The tests post the bytes that the configuration makes of a call.
"""

import hashlib
import json
import re

import pytest

from tests.integration.conftest import Payloads
from tests.paths import DOCS
from tests.running import TOKEN, ServiceProcess

CONFIGURATION = DOCS / "clients" / "opensips" / "opensips.cfg"
TEXT = CONFIGURATION.read_text()
NEEDED_MODULES = {
    "create_dialog": "dialog",
    "dlg_on_hangup": "dialog",
    "$json(": "json",
    "cache_store": "cachedb_local",
    "$shv(": "cfgutils",
    "rest_post": "rest_client",
    "t_relay": "tm",
    "record_route": "rr",
    "send_reply": "signaling",
    "mf_process_maxfwd_header": "maxfwd",
    "has_totag": "sipmsgops",
    "socket=udp": "proto_udp",
}
"""A function or variable of the configuration → the module that has it."""
HOSTILE_USERS = {
    "plain": ("4120", "4120"),
    "variable": ("$var(event)", "$var(event)"),
    "format": ("%s%n$$", "%s%n$$"),
    "quotes": ('","event_type":"x', '","event_type":"x'),
    "separators": ("a&b=c,d;e", "a&b=c,d;e"),
    "line break": ("1\r\nX-API-TOKEN: 2", "1\r\nX-API-TOKEN: 2"),
    "Latin-1": ("caf\udce9", "caf\ufffd"),
    "none": (None, "unknown"),
}
"""A caller's text, and the text in the event. The bytes beyond ASCII are as they come."""


def fields_of(route: str) -> list[str]:
    """Return the event's fields that a route of the configuration writes."""
    (body,) = re.findall(rf"^route\[{route}\] {{\n(.*?)^}}", TEXT, re.MULTILINE | re.DOTALL)
    return re.findall(r"\$json\(event/(\w+)\)", body)


def body_of(event: dict[str, object]) -> bytes:
    """Write an event as json-c does: with blanks around braces and colons, and bytes as they are."""
    members = [f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in event.items()]
    return ("{ " + ", ".join(members) + " }").encode(errors="surrogateescape")


def post(service: ServiceProcess, event: dict[str, object]) -> int:
    headers = {"Content-Type": "application/json", "X-API-TOKEN": TOKEN}
    key = {"Idempotency-Key": hashlib.md5(body_of(event)).hexdigest()}
    return service.request("POST", "/in/opensips", body_of(event), {**headers, **key})[0]


@pytest.mark.parametrize(("user", "text"), HOSTILE_USERS.values(), ids=HOSTILE_USERS)
def test_end_of_a_call_is_taken_once(service: ServiceProcess, payloads: Payloads, user: str | None, text: str) -> None:
    call = f"opensips-{[*HOSTILE_USERS.values()].index((user, text))}"
    values: dict[str, object] = {
        "event_type": "call_ended",
        "duration": 47,
        "call_id": call,
        **({} if user is None else {"from_number": user, "to_number": user}),
        "timestamp": "2026-02-03T09:15:00+01:00",
    }
    written = [*fields_of("CALL_ENDED"), *fields_of("QUEUE_EVENT")]
    assert {*values} <= {*written}

    assert [post(service, values), post(service, values)] == [200, 200]

    (payload,) = payloads(call)
    event = json.loads(payload)
    assert (event["from_number"], event["to_number"], event["duration"]) == (text, text, 47)
    assert event["timestamp"] == values["timestamp"]


def test_answer_of_a_call_is_taken(service: ServiceProcess, payloads: Payloads) -> None:
    assert fields_of("CALL_ANSWERED") == ["event_type"]

    event: dict[str, object] = {
        "event_type": "call_answered",
        "call_id": "opensips-a",
        "timestamp": "2026-02-03T09:15:00+01:00",
    }
    assert post(service, event) == 200
    assert len(payloads("opensips-a")) == 1


def test_configuration_loads_the_module_of_each_function() -> None:
    loaded = set(re.findall(r'^loadmodule "(\w+)\.so"', TEXT, re.MULTILINE))

    assert {name for name in NEEDED_MODULES if name not in TEXT} == set()
    assert set(NEEDED_MODULES.values()) <= loaded


def test_only_refusals_that_may_end_are_sent_again() -> None:
    (condition,) = re.findall(r"if \((\$var\(status\) >= 400.*?)\) {", TEXT)

    assert condition == ("$var(status) >= 400 && $var(status) < 500 && $var(status) != 408 && $var(status) != 429")
