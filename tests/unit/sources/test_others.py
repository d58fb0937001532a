"""jambonz, Twilio, and sources whose configuration writes the event."""

import hashlib
import hmac
import json
from urllib.parse import urlencode

import msgspec
import pytest

from ingest.errors import Malformed
from ingest.sources.signatures import Verifier
from tests.unit.sources.calls import FORMS, call_of, posted

JAMBONZ = {
    "call_sid": "6e2a1ff2-44b1-4e5f-8e3c-1b1c6d4f8a11",
    "direction": "inbound",
    "from": "+15551230001",
    "to": "+15551230002",
    "call_id": "84b1f0aa@198.51.100.7",
    "sip_status": 200,
    "call_status": "completed",
    "duration": 17,
    "account_sid": "9351f46a-678c-43f5-b8a6-d4eb58d131af",
    "originating_sip_ip": "198.51.100.7",
}
TWILIO = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675310",
    "Digits": "1234",
    "From": "+14158675310",
    "To": "+18005551212",
}
"""The example in Twilio's documentation of its signature, which also has the resulting signature."""


@pytest.mark.parametrize(
    ("status", "event_type", "duration"),
    [
        ("trying", "call_started", 17),
        ("ringing", "call_ringing", 17),
        ("in-progress", "call_answered", 17),
        ("completed", "call_ended", 17),
        ("no-answer", "call_ended", 17),
        ("transferred", "transferred", 17),
    ],
)
def test_statuses_of_jambonz_become_event_types(status: str, event_type: str, duration: int) -> None:
    body = json.dumps({**JAMBONZ, "call_status": status}).encode()

    call = call_of("jambonz", body)

    assert (call.call_id, call.from_number, call.to_number) == (JAMBONZ["call_sid"], "+15551230001", "+15551230002")
    assert (call.event_type, call.duration) == (event_type, duration)
    assert msgspec.json.encode(call.original) == body


def test_unanswered_call_has_no_duration() -> None:
    without = {name: value for name, value in JAMBONZ.items() if name != "duration"}

    call = call_of("jambonz", json.dumps(without).encode())

    assert call.duration == 0


SECRET = "0123456789"
SIGNED_AT = 1_738_331_100
AGE_SECONDS_MAX = 300


def verifier(source: str, secret: str, now: float = SIGNED_AT) -> Verifier:
    rule = FORMS[source].signature
    assert rule
    return Verifier(rule, secret, lambda: now)


@pytest.mark.parametrize(
    ("late", "good"), [(0, True), (AGE_SECONDS_MAX, True), (AGE_SECONDS_MAX + 1, False), (-400, False)]
)
def test_signature_of_jambonz_expires(late: float, good: bool) -> None:
    body = b'{"call_sid":"1"}'
    digest = hmac.new(SECRET.encode(), b"%d.%b" % (SIGNED_AT, body), hashlib.sha256).hexdigest()
    jambonz = verifier("jambonz", SECRET, SIGNED_AT + late)
    signature = f"t={SIGNED_AT},v1={digest}"

    assert jambonz.is_signed(posted(body, jambonz_signature=signature)) is good
    assert not jambonz.is_signed(posted(body + b" ", jambonz_signature=signature))
    assert not verifier("jambonz", "another").is_signed(posted(body, jambonz_signature=signature))


@pytest.mark.parametrize("signature", ["", "t=1,v1=", "v1=00", "t=1738331100,v1=" + "g" * 64])
def test_malformed_signature_of_jambonz_is_refused(signature: str) -> None:
    assert not verifier("jambonz", SECRET).is_signed(posted(b"{}", jambonz_signature=signature))


@pytest.mark.parametrize(
    ("status", "event_type", "duration"),
    [
        ("initiated", "call_started", None),
        ("ringing", "call_ringing", None),
        ("in-progress", "call_answered", None),
        ("busy", "call_ended", 0),
    ],
)
def test_statuses_of_twilio_become_event_types(status: str, event_type: str, duration: int | None) -> None:
    fields = {**TWILIO, "CallStatus": status, "Timestamp": "Fri, 31 Jan 2025 13:45:00 +0000"}

    call = call_of("twilio", urlencode(fields).encode())

    assert (call.call_id, call.from_number, call.to_number) == ("CA1234567890ABCDE", "+14158675310", "+18005551212")
    assert (call.event_type, call.duration) == (event_type, duration)
    assert call.timestamp == "2025-01-31T13:45:00.000000Z"
    assert call.original == fields


def test_twilio_sends_the_duration_of_a_call() -> None:
    call = call_of("twilio", urlencode({**TWILIO, "CallStatus": "completed", "CallDuration": "42"}).encode())

    assert call.duration == 42


def test_signature_of_twilio_matches_its_documentation() -> None:
    body = urlencode(TWILIO).encode()
    url = "https://example.com/myapp.php?foo=1&bar=2"
    signature = "L/OH5YylLD5NRKLltdqwSvS0BnU="

    twilio = verifier("twilio", "12345")

    def is_signed(content: bytes, at: str, given: str) -> bool:
        return twilio.is_signed(posted(content, "foo=1&bar=2", at, x_twilio_signature=given))

    assert is_signed(body, url, signature)
    assert not is_signed(body, url + "&", signature)
    assert not is_signed(body + b"&x=1", url, signature)
    assert not is_signed(body, url, "")


FIELDS = {
    "call_id": "1@pbx",
    "from_number": "100",
    "to_number": "200",
    "event_type": "call_ended",
    "timestamp": "2025-01-31T13:45:00Z",
    "duration": "7",
}


@pytest.mark.parametrize("body", [json.dumps(FIELDS).encode(), urlencode(FIELDS).encode()], ids=["JSON", "form"])
def test_events_may_be_json_or_a_form(body: bytes) -> None:
    call = call_of("asterisk", body)

    assert (call.call_id, call.event_type, call.timestamp) == ("1@pbx", "call_ended", FIELDS["timestamp"])
    assert (call.duration, call.source) == (7, "asterisk")


def test_original_keeps_further_fields() -> None:
    call = call_of("kamailio", b'{"call_id":"1","sip_code":200}')

    assert msgspec.json.encode(call.original) == b'{"call_id":"1","sip_code":200}'
    assert call.from_number == "unknown"


@pytest.mark.parametrize("body", [b"", b"text", b"[1]", b"{", b"&".join([b"a=1"] * 501)])
def test_other_formats_are_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        call_of("asterisk", body)


def test_form_of_the_documented_asterisk_dial_plan_is_accepted() -> None:
    body = b"call_id=1738331058.7&from_number=%2B15551230001&to_number=2000&event_type=call_ended&duration=40"

    call = call_of("asterisk", body)

    assert (call.call_id, call.from_number, call.to_number) == ("1738331058.7", "+15551230001", "2000")
    assert (call.event_type, call.duration) == ("call_ended", 40)
    assert call.timestamp
