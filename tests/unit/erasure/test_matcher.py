"""Which events belong to a number or a call."""

import json
from typing import Any

import pytest

from ingest.erasure.matcher import Matcher, Wanted, problem_of
from tests.unit.making import body

NUMBER = "+994501234567"


def matches(number: str, **fields: Any) -> bool:
    return Matcher(Wanted((number,))).matches(body(**fields))


@pytest.mark.parametrize(
    "written",
    [
        "+994501234567",
        "994501234567",
        "00994501234567",
        "+994 50 123-45-67",
        "+994 (50) 123.45.67",
        "tel:+994501234567",
        "sip:994501234567@10.0.0.1:5060",
        '"A caller" <sip:+994501234567@pbx.example.com;user=phone>',
        "994501234567@pbx",
    ],
)
@pytest.mark.parametrize("number", [NUMBER, "994 50 123 45 67", "00994501234567"])
@pytest.mark.parametrize("field", ["from_number", "to_number", "diverted_by"])
def test_number_is_found_in_every_written_form(number: str, field: str, written: str) -> None:
    assert matches(number, **{field: written})


@pytest.mark.parametrize("other", ["+9945012345678", "1994501234567", "+994501234568", "anonymous", "0501234567"])
def test_other_numbers_are_kept(other: str) -> None:
    assert not matches(NUMBER, from_number=other, note=f"was {other}")


@pytest.mark.parametrize(
    "fields",
    [
        {"original": {"legs": [{"caller": "994501234567"}]}},
        {"note": "asked to call 994501234567 back"},
        {"raw": 994501234567},
        {"by": {"994501234567": "x"}},
        {"call_id": "994501234567-1700000000"},
    ],
)
def test_long_number_is_found_anywhere_in_the_payload(fields: dict[str, Any]) -> None:
    assert matches(NUMBER, **fields)


def test_escaped_number_is_found() -> None:
    hidden = body(from_number="+9945012345").replace(b"+9945012345", rb"\u002b99450123\u0034567")
    assert json.loads(hidden)["from_number"] == NUMBER
    assert Matcher(Wanted((NUMBER,))).matches(hidden)


@pytest.mark.parametrize("field", ["from_number", "to_number"])
@pytest.mark.parametrize(("number", "written"), [("101", "101"), ("101", "sip:101@pbx"), ("anonymous", "anonymous")])
def test_extension_or_name_is_the_whole_field(number: str, written: str, field: str) -> None:
    assert matches(number, **{field: written})


def test_extension_in_another_field_is_kept() -> None:
    kept = {"duration": 101, "note": "101", "position": 101, "call_id": "1700000000.101", "from_number": "+1101"}
    assert not matches("101", **kept)


def test_digits_of_a_time_are_no_number() -> None:
    assert not matches("20250131", timestamp="2025-01-31T13:45:00Z")


def test_call_is_compared_exactly() -> None:
    matcher = Matcher(Wanted(calls=("a.b",)))
    assert matcher.matches(body(call_id="a.b"))
    assert matcher.matches(b"{}", "a.b")
    assert not matcher.matches(body(call_id="aXb", note="a.b"))


def test_payload_that_is_no_json_matches_by_its_text() -> None:
    assert Matcher(Wanted((NUMBER,))).matches(b"{from: 994501234567")
    assert not Matcher(Wanted((NUMBER,))).matches(b"{from: 9945012345678")


def test_values_that_could_erase_anything_are_refused() -> None:
    for wanted in (Wanted(), Wanted(("",)), Wanted(("1",), (" ",)), Wanted(("1",) * 101), Wanted(("1" * 129,))):
        assert problem_of(wanted)
    assert problem_of(Wanted((NUMBER,), ("call",))) is None
