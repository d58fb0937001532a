"""Properties of every event: the fast decoder and the slow explanation of errors agree."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import Invalid
from ingest.events.call_event import CALL_ENDED
from ingest.events.event import Event, decode
from ingest.events.field_errors import field_errors
from tests.fuzz.checks import check_event
from tests.unit.making import ABSENT, FIELDS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=140)  # what UTF-8 can encode
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))

OFFSETS = st.sampled_from(["Z", "z", "+01:00", "-23:59", "+24:00", "+0130", "+01", "", " Z"])
FRACTIONS = st.sampled_from(["", ".5", ".123456789", ".", ",5"])
NEARLY_TIMESTAMPS = st.builds(
    "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
    st.sampled_from([0, 1, 1999, 2024, 2025, 9999]),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from("Tt _"),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    FRACTIONS,
    OFFSETS,
)
TIMESTAMPS = st.datetimes(timezones=st.timezones()).map(lambda when: when.isoformat()) | NEARLY_TIMESTAMPS
DURATIONS = st.integers(-2, 2**32) | st.floats(-2, 2**32) | st.integers(-2, 2**32).map(str) | JSON
VALUES = {"timestamp": TIMESTAMPS | JSON, "duration": DURATIONS, "event_type": st.just(CALL_ENDED) | TEXT | JSON}

NUMERALS = [
    "-0",
    "5.0",
    "1e2",
    "2147483647",
    "2147483648",
    "1e400",
    "-1e400",
    "12345678901234567890123456",
    "9" * 5_000,
]
NESTED = st.sampled_from([29, 30, 31, 500, 10_000]).map(lambda levels: b"[" * levels + b"1" + b"]" * levels)
ESCAPES = [
    rb'"\ud800"',
    rb'"\udc00\ud800"',
    rb'"\u0000"',
    b'"\0"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    rb'"[\"[\\"',
    rb'"\x"',
    b"NaN",
]
WRITTEN = (
    JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode())
    | st.sampled_from(NUMERALS).map(str.encode)
    | NESTED
    | st.sampled_from(ESCAPES)
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Valid events with some fields changed, some left out and some added."""
    document: dict[str, Any] = dict(FIELDS)
    for field in draw(st.lists(st.sampled_from([*FIELDS, "duration"]), unique=True, max_size=3)):
        value = draw(st.just(ABSENT) | VALUES.get(field, TEXT | JSON))
        document[field] = value
    document = {field: value for field, value in document.items() if value is not ABSENT}
    return document | draw(st.dictionaries(TEXT.filter(lambda name: name not in FIELDS), JSON, max_size=2))


def outcome(content: bytes) -> Event | Any:
    """The event, or the errors of its fields."""
    try:
        return decode(content)
    except Invalid as exc:
        return exc.errors


@settings(max_examples=400, deadline=None)
@given(documents(), st.booleans())
def test_an_event_is_accepted_exactly_if_it_has_no_field_errors(document: dict[str, Any], ascii_only: bool) -> None:
    content = json.dumps(document, ensure_ascii=ascii_only).encode()
    errors = field_errors(document)

    expected = errors or Event(document["call_id"], document["event_type"], content)

    assert outcome(content) == expected


@settings(max_examples=200, deadline=None)
@given(TIMESTAMPS)
def test_fast_and_slow_path_agree_on_timestamps(timestamp: str) -> None:
    """The longer JSON is read the slow way: its duration is a float, which the fast path leaves to the slow one."""
    plain = json.dumps({**FIELDS, "timestamp": timestamp}).encode()
    slow = json.dumps({**FIELDS, "timestamp": timestamp, "duration": 5.0}).encode()

    assert isinstance(outcome(plain), Event) == isinstance(outcome(slow), Event)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 10))
def test_damaged_bytes_are_accepted_unchanged_or_rejected(noise: bytes, position: int, removed: int) -> None:
    content = json.dumps(FIELDS).encode()

    check_event(content[:position] + noise + content[position + removed :])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*FIELDS, "duration", "x"]), WRITTEN), max_size=4), st.booleans())
def test_fields_written_in_any_way_are_judged_as_the_contract_says(
    changes: list[tuple[str, bytes]], before: bool
) -> None:
    """Also fields that are written twice: the last one counts."""
    members = [b'"%b":%b' % (name.encode(), value) for name, value in changes]
    valid = json.dumps(FIELDS).encode()[1:-1]

    check_event(b"{" + b", ".join([*members, valid] if before else [valid, *members]) + b"}")
