"""Values that phones and providers send: each is cut, limited or replaced, and the call is kept."""

import json
import math
from datetime import timedelta, timezone
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from ingest.events.event import decode
from ingest.sources.values import Adapter
from tests.unit.sources.calls import call_of, translated

BAKU = timezone(timedelta(hours=4))


@pytest.mark.parametrize(
    ("value", "number", "reason"),
    [
        ("+1555", "+1555", None),
        (1555, "1555", None),
        ("", "unknown", "unknown"),
        ("  ", "unknown", "unknown"),
        (None, "unknown", "unknown"),
        ({}, "unknown", "unknown"),
        (True, "unknown", "unknown"),
        (math.nan, "unknown", "unknown"),
        pytest.param(10**5000, "unknown", "unknown", id="5,001 digits"),
        ("9" * 128, "9" * 128, None),
        ("9" * 129, "9" * 128, "cut"),
        ("Ren\ufffde", "Ren\ufffde", "replaced"),
        ("half \ud83d", "half \ufffd", "replaced"),
        ("a\x07b", "a\x07b", None),
    ],
)
def test_number(value: Any, number: str, reason: str | None) -> None:
    adapter = Adapter()

    assert adapter.number("from_number", value) == number
    assert adapter.reasons() == ({reason} if reason else set())


@pytest.mark.parametrize(
    ("value", "seconds", "reason"),
    [
        (47, 47, None),
        ("47", 47, None),
        (" 47 ", 47, None),
        (47.0, 47, None),
        ("00:01:02", 62, None),
        ("47.9", 47, "rounded"),
        (47.9, 47, "rounded"),
        (-1, 0, "clamped"),
        ("-3", 0, "clamped"),
        (2**31, 2**31 - 1, "clamped"),
        ("9" * 5000, 2**31 - 1, "clamped"),
        (1e300, 2**31 - 1, "clamped"),
        (math.inf, 2**31 - 1, "clamped"),
        (math.nan, 0, "replaced"),
        ("NaN", 0, "replaced"),
        ("soon", 0, "replaced"),
        ("1_0", 0, "replaced"),
        ([], 0, "replaced"),
        (True, 0, "replaced"),
        ("", 0, None),
        (None, 0, None),
    ],
)
def test_duration(value: Any, seconds: int, reason: str | None) -> None:
    adapter = Adapter()

    assert adapter.seconds(value, required=True) == seconds
    assert adapter.reasons() == ({reason} if reason else set())


def test_duration_of_milliseconds() -> None:
    assert Adapter().seconds("1999", 1000, required=False) == 1


def test_missing_duration_is_only_zero_where_one_is_required() -> None:
    assert Adapter().seconds("", required=False) is None


@pytest.mark.parametrize(
    ("value", "format_", "expected"),
    [
        ("2025-01-31T13:45:00.123456789Z", "rfc3339", "2025-01-31T13:45:00.123456789Z"),
        ("2025-01-31 13:45:00+0400", "rfc3339", "2025-01-31 13:45:00+0400"),
        ("2025-01-31 13:45:00", "rfc3339", "2025-01-31T13:45:00+04:00"),
        ("2016-12-31T23:59:60Z", "rfc3339", "2016-12-31T23:59:60Z"),
        ("1738331100", "unix", "2025-01-31T13:45:00.000000Z"),
        (1738331100.5, "unix", "2025-01-31T13:45:00.500000Z"),
        ("1738331100123", "unix_ms", "2025-01-31T13:45:00.123000Z"),
        (1738331100123456, "unix_us", "2025-01-31T13:45:00.123456Z"),
        ("Fri, 31 Jan 2025 13:45:00 +0000", "rfc2822", "2025-01-31T13:45:00.000000Z"),
        ("31.01.2025 13:45", "%d.%m.%Y %H:%M", "2025-01-31T13:45:00+04:00"),
    ],
)
def test_time(value: Any, format_: str, expected: str) -> None:
    assert Adapter().moment(value, (format_,), BAKU) == expected


@pytest.mark.parametrize(
    ("value", "format_"),
    [
        ("2025-02-30T00:00:00Z", "rfc3339"),
        ("2025-01-31", "rfc3339"),
        ("2025-01-31T13:45:80Z", "rfc3339"),
        ("2025-01-31T13:60:00Z", "rfc3339"),
        ("2025-01-31T13:45:00+24:00", "rfc3339"),
        ("2025-01-31T13:45:00+04:60", "rfc3339"),
        ("9" * 5000, "unix"),
        ("253402300800", "unix"),
        (1e300, "unix"),
        (math.inf, "unix"),
        (math.nan, "unix"),
        (-1, "unix"),
        ("1:00:00", "unix"),
        ("Fri, 31 Jan 99999 13:45:00 +0000", "rfc2822"),
        ("Fri, 31 Jan 2025 13:45:00 +9999", "rfc2822"),
        ("", "%Y"),
        ([], "rfc3339"),
        ({}, "unix"),
    ],
)
def test_time_that_cannot_be_read(value: Any, format_: str) -> None:
    adapter = Adapter()

    assert adapter.moment(value, (format_,), None) is None
    assert adapter.reasons() == ({"replaced"} if value != "" else set())


def test_event_says_what_was_changed_and_keeps_the_original() -> None:
    body = json.dumps({"call_id": "1", "from_number": "9" * 200, "event_type": "call_ended", "duration": -5}).encode()

    found = translated("asterisk", body)

    assert found.call.adapted == {
        "from_number": "it had 200 characters",
        "to_number": "the request had none",
        "duration": "it was not in 0 to 2147483647",
    }
    assert found.reasons == {"cut", "unknown", "clamped"}
    assert msgspec.json.encode(found.call.original) == body
    decode(msgspec.json.encode(found.call))


def test_unchanged_event_says_nothing() -> None:
    body = b'{"call_id":"1","from_number":"2","to_number":"3","event_type":"x","timestamp":"2025-01-31T13:45:00Z"}'

    assert b"adapted" not in msgspec.json.encode(call_of("asterisk", body))


@pytest.mark.parametrize("size", [255, 256, 5000])
def test_long_ids_of_different_calls_stay_different(size: int) -> None:
    first, second = ("a" * (size - 1) + last for last in "xy")

    ids = {call_of("asterisk", json.dumps({"call_id": text}).encode()).call_id for text in (first, second)}

    assert len(ids) == 2
    assert all(text and len(text) <= 255 for text in ids)


@pytest.mark.parametrize(
    "name",
    ["Əli".encode(), b"Ren%E9e", b"Ren\xe9e", quote("Əli").encode(), b"100%", b"%ZZ", b"%00"],
)
def test_name_in_a_form_never_loses_the_call(name: bytes) -> None:
    call = call_of("asterisk", b"call_id=1&from_number=2&event_type=call_ended&duration=47&name=" + name + b"\r\n")

    assert (call.call_id, call.from_number, call.duration) == ("1", "2", 47)


@pytest.mark.parametrize("tail", [b"&", b"&&", b"&transferred", b"&=", b"&=x", b"\n", b"&duration"])
def test_odd_forms(tail: bytes) -> None:
    assert call_of("asterisk", b"call_id=1&from_number=2&to_number=3&event_type=x" + tail).call_id == "1"


@pytest.mark.parametrize("number", [b"NaN", b"9" * 5000], ids=["NaN", "5,000 digits"])
def test_json_that_python_alone_reads(number: bytes) -> None:
    assert call_of("asterisk", b'{"call_id":"1","n":' + number + b"}").call_id == "1"
