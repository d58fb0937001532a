"""All formats in which mod_json_cdr and mod_format_cdr of FreeSWITCH post a record."""

import base64
import json
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from ingest.errors import Malformed
from ingest.sources.base import Call
from tests.unit.sources import calls
from tests.unit.sources.records import JSON, UUID, XML

FORMS = {
    "JSON": JSON,
    "JSON, as if a form": b"  " + JSON,
    "form": b"cdr=" + quote(JSON).encode(),
    "form, blanks as plus signs": b"cdr=" + quote_plus(JSON).encode(),
    "plain form": b"cdr=" + JSON,
    "Base64": b"cdr=" + base64.b64encode(JSON),
    "Base64, escaped": b"cdr=" + quote(base64.b64encode(JSON)).encode(),
    "XML": XML,
    "XML in a form": b"cdr=" + quote(XML).encode(),
    "XML in a plain form": b"cdr=" + XML,
    "XML in Base64": b"cdr=" + base64.b64encode(XML),
}


def call_of(body: bytes, query: str = f"uuid={UUID}") -> Call:
    return calls.call_of("freeswitch", body, query)


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_record_is_an_ended_call(body: bytes) -> None:
    call = call_of(body)

    assert (call.call_id, call.from_number, call.to_number) == (UUID, "+15551230001", "+15551230002")
    assert (call.event_type, call.timestamp, call.duration) == ("call_ended", "2025-01-31T13:45:00.000000Z", 40)


def test_original_is_unchanged() -> None:
    assert msgspec.json.encode(call_of(JSON).original) == JSON
    assert call_of(XML).original == XML.decode()


def changed(**variables: object) -> bytes:
    record = json.loads(JSON)
    record["variables"] |= variables
    return json.dumps(record).encode()


def test_prefix_of_the_first_leg_is_removed() -> None:
    assert call_of(changed(uuid=f"a_{UUID}")).call_id == UUID


def test_uuid_of_the_query_replaces_a_missing_one() -> None:
    assert call_of(changed(uuid=""), f"token=x?uuid={UUID}").call_id == UUID


@pytest.mark.parametrize(
    ("variables", "duration"), [({"billsec": "0"}, 0), ({"billsec": ""}, 42), ({"billsec": None, "duration": "x"}, 0)]
)
def test_duration_is_the_billed_time(variables: dict[str, object], duration: int) -> None:
    assert call_of(changed(**variables)).duration == duration


def test_values_may_be_unencoded() -> None:
    assert call_of(JSON.replace(b"%2B", b"+")).from_number == "+15551230001"


@pytest.mark.parametrize("end", ["0", "", "-1", "99999999999999999999", "soon"])
def test_invalid_time_is_replaced_by_the_current_time(end: str) -> None:
    timestamp = call_of(changed(end_epoch=end)).timestamp

    assert timestamp
    assert timestamp > "2026"


@pytest.mark.parametrize("record", [b"{}", b'{"variables":[],"callflow":{}}', b'{"callflow":[{"caller_profile":7}]}'])
def test_empty_record_has_unknown_numbers(record: bytes) -> None:
    call = call_of(record)

    assert (call.from_number, call.to_number) == ("unknown", "unknown")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"cdr=",
        b"cdr=!",
        b"[]",
        b"{",
        b"<cdr",
        b"cdr=%7B",
        b"text",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        b"<a>" * 30 + b"</a>" * 30,
    ],
)
def test_invalid_record_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        call_of(body)


@pytest.mark.parametrize("name", ["Ren\xe9e", "\xff", "a\x07b", "line\nbreak", "tab\t"])
def test_bytes_that_are_no_json_in_utf8_do_not_lose_the_call(name: str) -> None:
    body = JSON.replace(b'"username":"1000"', b'"username":"' + name.encode("latin-1") + b'"')

    call = call_of(body)

    assert (call.call_id, call.from_number, call.duration) == (UUID, "+15551230001", 40)
    assert call.adapted == {"original": "it is not valid JSON in UTF-8, and kept as text"}
    assert isinstance(call.original, str)


def test_odd_bytes_of_the_original_stay_readable() -> None:
    assert r"Ren\xe9e" in call_of(JSON.replace(b"1000", b"Ren\xe9e")).original


@pytest.mark.parametrize(
    "odd",
    [
        b"<1>x</1>",
        b"<set a=b>x</set a=b>",
        b"<^^,name>x</^^,name>",
        b'<sip_full_from>"Ann" <sip:1000@pbx></sip_full_from>',
        b"<name>a < b && c > d</name>",
        b"<name>\x07\x00</name>",
        b"<name>Ren\xe9e</name>",
        b"<name>&eacute;&#x0;&unknown;</name>",
        b"</variable>",
        b"<direction>",
    ],
)
def test_xml_that_is_not_well_formed_keeps_the_call(odd: bytes) -> None:
    call = call_of(XML.replace(b"<variables>", b"<variables>" + odd))

    assert (call.call_id, call.from_number, call.to_number) == (UUID, "+15551230001", "+15551230002")
    assert (call.timestamp, call.duration) == ("2025-01-31T13:45:00.000000Z", 40)


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "utf-16", "x-none", "base64", "idna", "unicode_escape"])
def test_declared_encoding_of_xml_never_fails(encoding: str) -> None:
    declared = XML.replace(b"1.0", b'1.0" encoding="' + encoding.encode(), 1)

    assert call_of(declared).call_id is not None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_byte_order_mark_of_xml(encoding: str) -> None:
    assert call_of(XML.decode().encode(encoding)).call_id == UUID
