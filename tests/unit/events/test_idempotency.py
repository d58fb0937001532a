"""Two events are duplicates if their keys are the same."""

import pytest

from ingest.errors import Malformed
from ingest.events.idempotency import KEY_CHARS_MAX, Keys, digest_of, fingerprint_of
from tests.unit.making import event

HEADER_ONLY, NATURAL = Keys(natural=False), Keys(natural=True)


def test_event_without_a_key_has_none() -> None:
    assert HEADER_ONLY.of(event(), None) is None


def test_key_of_the_header_is_of_the_clients_name_and_the_place_in_the_batch() -> None:
    given = HEADER_ONLY.given("key-1", "pbx")
    key = HEADER_ONLY.of(event(), given)
    others = [
        HEADER_ONLY.of(event(), HEADER_ONLY.given("key-2", "pbx")),
        HEADER_ONLY.of(event(), HEADER_ONLY.given("key-1", "other")),
        HEADER_ONLY.of(event(), given, 1),
        NATURAL.of(event(), None),
    ]

    assert key == HEADER_ONLY.of(event(), given)
    assert key
    assert all(other and digest_of(other) != digest_of(key) for other in others)


def test_fingerprint_tells_another_event_of_the_same_key() -> None:
    given = HEADER_ONLY.given("key-1", "pbx")
    one, other = (HEADER_ONLY.of(event(note=note), given) for note in "ab")

    assert one
    assert other
    assert digest_of(one) == digest_of(other)
    assert fingerprint_of(one) != fingerprint_of(other)


def test_natural_key_is_of_call_type_and_time_alone() -> None:
    key = NATURAL.of(event(), None)
    others = [event("call-2"), event(event_type="call_ended"), event(timestamp="2025-01-31T13:45:01Z")]

    assert key == NATURAL.of(event(note="another"), None)
    assert key
    assert fingerprint_of(key) == b""
    assert all(NATURAL.of(other, None) != key for other in others)


@pytest.mark.parametrize("text", [None, "", "  ", "x" * (KEY_CHARS_MAX + 1)])
def test_invalid_key_is_refused(text: str | None) -> None:
    with pytest.raises(Malformed, match="Idempotency-Key must have"):
        HEADER_ONLY.given(text, "pbx")
