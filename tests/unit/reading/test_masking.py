"""Phone numbers in an event are masked for a reader whose token does not show them."""

from typing import Any

import msgspec
import pytest

from ingest.reading.masking import masked_number, masked_payload
from tests.unit.making import FIELDS, body


def test_numbers_of_the_call_are_masked_and_the_rest_stays() -> None:
    shown = masked_payload(body())

    assert shown == {**FIELDS, "from_number": "***01", "to_number": "***02"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("sip:+15551230001@pbx.example.com", "sip:***01@pbx.example.com"),
        ({"caller": "+1 555 123 0001"}, {"caller": "***01"}),
        ([["15551230001"]], [["***01"]]),
        (15551230001, "***01"),
        (-15551230001, "***01"),
        (42, 42),
        (True, True),
        (None, None),
    ],
)
def test_numbers_in_other_fields_are_masked(value: Any, shown: Any) -> None:
    assert masked_payload(body(more=value))["more"] == shown


def test_number_in_a_name_is_masked() -> None:
    assert masked_payload(b'{"+15551230001": 1}') == {"***01": 1}


@pytest.mark.parametrize(("value", "shown"), [("anonymous", "anonymous"), ("100", "***00"), ("12", "12"), ("", "")])
def test_what_is_no_number_stays(value: str, shown: str) -> None:
    assert masked_number(value) == shown


@pytest.mark.parametrize("payload", [b"", b"{", b'"\xff"', b"[" * 2000])
def test_what_is_no_event_shows_nothing(payload: bytes) -> None:
    assert masked_payload(payload) is None


def test_masked_event_can_be_encoded_again() -> None:
    assert b"5551230" not in msgspec.json.encode(masked_payload(body(notes="call +15551230001, or 5551230002")))
