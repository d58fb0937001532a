import json
from typing import Any

import pytest

from ingest.errors import Invalid, Malformed
from ingest.events.call_event import DURATION_SECONDS_MAX, LENGTHS_MAX
from ingest.events.event import decode
from ingest.events.json_limits import DEPTH_MAX
from tests.unit.making import ABSENT, FIELDS, body

TEXTS = sorted(LENGTHS_MAX)
TIMESTAMP = "The timestamp must be a date and time as in RFC 3339, with an offset, such as 2025-01-31T13:45:00Z."
WHOLE = "The duration must be a whole number of seconds."
REQUIRED_DURATION = "The duration field is required when event type is call_ended."


def errors_of(content: bytes) -> Any:
    with pytest.raises(Invalid) as caught:
        decode(content)
    return caught.value.errors


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    """An event whose JSON has `levels` levels of nesting."""
    inner = opening * (levels - 1) + closing * (levels - 1) if opening == "[" else opening * (levels - 1)
    if opening != "[":
        inner = opening * (levels - 2) + "{}" + closing * (levels - 2)
    return body()[:-1] + f', "extra": {inner}}}'.encode()


def test_event_has_its_columns_and_the_payload_byte_for_byte() -> None:
    content = b' {"event_type" : "call_ended",\n"call_id":"\\u0041-\xc3\xa9", "from_number":"1","to_number":"2",'
    content += b'"duration": 5,\t"timestamp":"2025-01-31T13:45:00.25+01:00"}\r\n'

    event = decode(content)

    assert (event.call_id, event.event_type) == ("A-é", "call_ended")
    assert event.payload == content


def test_all_errors_come_at_once_in_the_form_of_laravel() -> None:
    content = json.dumps({"call_id": "", "from_number": 5, "to_number": "x" * 129, "event_type": "call_ended"}).encode()

    assert errors_of(content) == {
        "call_id": ["The call id field is required."],
        "from_number": ["The from number must be a string."],
        "to_number": ["The to number may not be greater than 128 characters."],
        "timestamp": ["The timestamp field is required."],
        "duration": [REQUIRED_DURATION],
    }


def test_an_empty_object_lacks_every_required_field() -> None:
    assert sorted(errors_of(b"{}")) == ["call_id", "event_type", "from_number", "timestamp", "to_number"]


@pytest.mark.parametrize("field", [*TEXTS, "timestamp"])
@pytest.mark.parametrize("value", [ABSENT, None, ""], ids=["absent", "null", "empty"])
def test_required_field_must_be_there_and_not_be_empty(field: str, value: object) -> None:
    assert errors_of(body(**{field: value})) == {field: [f"The {field.replace('_', ' ')} field is required."]}


@pytest.mark.parametrize("field", [*TEXTS, "timestamp"])
@pytest.mark.parametrize("value", [0, 1.5, True, False, [], {}, ["x"]], ids=repr)
def test_text_must_be_a_string(field: str, value: object) -> None:
    assert errors_of(body(**{field: value})) == {field: [f"The {field.replace('_', ' ')} must be a string."]}


@pytest.mark.parametrize("character", ["x", "é", "😀"])
@pytest.mark.parametrize(("field", "limit"), sorted(LENGTHS_MAX.items()))
def test_text_is_limited_in_characters_not_bytes(field: str, limit: int, character: str) -> None:
    assert decode(body(**{field: character * limit}))

    too_long = body(**{field: character * (limit + 1)})

    assert errors_of(too_long) == {
        field: [f"The {field.replace('_', ' ')} may not be greater than {limit} characters."]
    }


def test_limits_are_the_documented_ones() -> None:
    assert LENGTHS_MAX == {"call_id": 255, "from_number": 128, "to_number": 128, "event_type": 64}


@pytest.mark.parametrize(
    "timestamp",
    [
        "2025-01-31T13:45:00Z",
        "2025-01-31t13:45:00z",
        "2025-01-31 13:45:00+01:00",
        "2025-01-31T13:45:00.123456789-23:59",
        "2025-01-31T13:45:00-00:00",
        "2024-02-29T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60.5+00:00",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59.9999999Z",
    ],
)
def test_rfc_3339_timestamp_is_accepted(timestamp: str) -> None:
    content = body(timestamp=timestamp)

    assert decode(content).payload == content


@pytest.mark.parametrize(
    "timestamp",
    [
        "2025-01-31",
        "13:45:00Z",
        "2025-01-31T13:45Z",
        "20250131T134500Z",
        "2025-02-29T00:00:00Z",
        "2025-04-31T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-00-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2025-01-31T24:00:00Z",
        "2025-01-31T13:60:00Z",
        "2025-01-31T13:45:61Z",
        "2025-01-31T13:45:00.Z",
        "2025-01-31T13:45:00,5Z",
        "2025-01-31T13:45:00+24:00",
        "2025-01-31T13:45:00+01:60",
        "2025-01-31T13:45:00+01",
        "2025-01-31T13:45:00 Z",
        "2025-01-31T13:45:00Z\n",
        " 2025-01-31T13:45:00Z",
        "\uff12\uff10\uff12\uff15-01-31T13:45:00Z",
        "1738331100",
        "now",
    ],
)
def test_anything_else_is_no_timestamp(timestamp: str) -> None:
    assert errors_of(body(timestamp=timestamp)) == {"timestamp": [TIMESTAMP]}


@pytest.mark.parametrize("event_type", ["call_started", "call_ended"])
@pytest.mark.parametrize("duration", [b"0", b"5", b"5.0", b"1e2", b"-0", b"%d" % DURATION_SECONDS_MAX])
def test_whole_duration_is_accepted(event_type: str, duration: bytes) -> None:
    content = body(event_type=event_type)[:-1] + b', "duration": ' + duration + b"}"

    assert decode(content).payload == content


@pytest.mark.parametrize("event_type", ["call_started", "call_ended"])
@pytest.mark.parametrize(
    ("duration", "error"),
    [
        (b"-1", "The duration must be at least 0."),
        (b"-1.0", "The duration must be at least 0."),
        (b"%d" % (DURATION_SECONDS_MAX + 1), f"The duration may not be greater than {DURATION_SECONDS_MAX}."),
        (b"9" * 40, f"The duration may not be greater than {DURATION_SECONDS_MAX}."),
        (b"0.5", WHOLE),
        (b"true", WHOLE),
        (b"false", WHOLE),
        (b"[]", WHOLE),
        (b"{}", WHOLE),
    ],
)
def test_any_other_duration_is_refused(event_type: str, duration: bytes, error: str) -> None:
    assert errors_of(body(event_type=event_type)[:-1] + b', "duration": ' + duration + b"}") == {"duration": [error]}


@pytest.mark.parametrize("duration", [None, ABSENT], ids=["null", "absent"])
def test_duration_is_required_of_ended_calls_only(duration: object) -> None:
    assert decode(body(duration=duration))
    assert errors_of(body(duration=duration, event_type="call_ended")) == {"duration": [REQUIRED_DURATION]}


def test_unknown_fields_are_kept() -> None:
    content = body(recording={"url": "https://example.com", "parts": [1, 2.5, None, True]}, agent="é")

    assert decode(content).payload == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \r\n\t ",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"[" + body() + b"]",
        body() + b"x",
        body() + body(),
        body()[:-1],
        body()[:-1] + b",}",
        body().decode().encode("utf-16"),
        body()[:-1] + b', "x": NaN}',
        body()[:-1] + b', "x": 01}',
        body()[:-1] + b', "x": "\x01"}',
        body()[:-1] + b', "x": "\\ud800"}',
        body()[:-1] + b', "x": "\xff"}',
        body()[:-1] + b', "x": "\xc0\xaf"}',
        body()[:-1] + b', "x": "\xed\xa0\x80"}',
        body()[:-1] + b', "\xff": 1}',
        body(call_id="#").replace(b"#", b"\xff"),
    ],
)
def test_what_is_no_json_object_in_utf8_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode(content)


def test_error_of_a_malformed_body_names_the_byte_that_is_not_utf8() -> None:
    with pytest.raises(Malformed, match=r"not valid UTF-8 \(byte 3\)"):
        decode(b'{"a\xff"}')


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_limited(opening: str, closing: str) -> None:
    deepest = nested(DEPTH_MAX, opening, closing)
    assert decode(deepest).payload == deepest

    for levels in (DEPTH_MAX + 1, 10_000):
        with pytest.raises(Malformed, match="nested deeper"):
            decode(nested(levels, opening, closing))


def test_brackets_in_strings_and_side_by_side_are_no_nesting() -> None:
    assert decode(body(extra="[{" * 100, more=[[] for _ in range(100)]))


@pytest.mark.parametrize("first", ['"another"', "5", '""'])
def test_of_duplicate_keys_the_last_counts(first: str) -> None:
    content = f'{{"call_id": {first}, '.encode() + body(call_id="the last")[1:]

    assert decode(content).call_id == "the last"


def test_a_wrong_duplicate_that_comes_last_is_refused() -> None:
    assert errors_of(body()[:-1] + b', "call_id": 5}') == {"call_id": ["The call id must be a string."]}


def test_fields_are_the_documented_ones() -> None:
    assert set(FIELDS) == {*LENGTHS_MAX, "timestamp"}


BOM = b"\xef\xbb\xbf"


def test_byte_order_mark_is_no_part_of_the_event() -> None:
    assert decode(BOM + body()).payload == body()


@pytest.mark.parametrize("content", [BOM, BOM + BOM + body(), body() + BOM])
def test_byte_order_mark_elsewhere_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode(content)


@pytest.mark.parametrize("between", [b"", b" "])
def test_several_objects_are_refused_with_the_forms_of_a_batch(between: bytes) -> None:
    with pytest.raises(Malformed, match="NDJSON with one event a line"):
        decode(body() + between + body())


@pytest.mark.parametrize("digits", ["0", "47", " 47 ", "0047", str(DURATION_SECONDS_MAX)])
def test_duration_may_be_digits_and_stays_as_it_came(digits: str) -> None:
    content = body(event_type="call_ended", duration=digits)

    assert decode(content).payload == content


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", WHOLE),
        ("4.5", WHOLE),
        ("soon", WHOLE),
        ("\u0664\u0667", WHOLE),
        ("9" * 5000, WHOLE),
        ("-1", "The duration must be at least 0."),
        (str(DURATION_SECONDS_MAX + 1), f"The duration may not be greater than {DURATION_SECONDS_MAX}."),
    ],
)
def test_duration_in_other_text_is_refused(text: str, error: str) -> None:
    assert errors_of(body(duration=text)) == {"duration": [error]}
