"""An event that one of the databases refuses is refused before it is acknowledged, with any database."""

import pytest

from ingest.errors import Invalid
from ingest.events.event import Event, decode
from ingest.events.json_limits import KEY, NUMBER, problem
from tests.stored_json import KEYS_REFUSED, NUMBERS_REFUSED, TAKEN
from tests.unit.making import FIELDS, body, event


def with_field(written: bytes) -> bytes:
    return body()[:-1] + b', "x": ' + written + b"}"


@pytest.mark.parametrize("written", NUMBERS_REFUSED.values(), ids=NUMBERS_REFUSED)
@pytest.mark.parametrize("around", [b"%b", b"[%b]", b'{"a":%b}', b'"\\\\", "y":%b', b'"e", "y": [1,%b ,2]'], ids=str)
def test_number_that_no_double_holds_is_refused(written: bytes, around: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        decode(with_field(around % written))

    assert refused.value.errors == {"payload": [NUMBER]}


@pytest.mark.parametrize("written", KEYS_REFUSED.values(), ids=KEYS_REFUSED)
def test_key_that_is_too_long_is_refused(written: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        decode(with_field(written))

    assert refused.value.errors == {"payload": [KEY]}


@pytest.mark.parametrize("written", TAKEN.values(), ids=TAKEN)
def test_what_looks_like_it_is_taken(written: bytes) -> None:
    assert decode(with_field(written)) == Event(FIELDS["call_id"], FIELDS["event_type"], with_field(written))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(body(duration=0)[:-2] + b"0e999}", id="duration"),
        pytest.param(body()[:-1] + b', "duration": 1e999, "duration": 5}', id="repeated key"),
        pytest.param(body().replace(b"13:45:00", rb"13\u003a45\u003a00")[:-1] + b',"x":1e999}', id="escaped colons"),
        pytest.param(b'{"x":1e999,' + body()[1:], id="first"),
    ],
)
def test_number_is_found_wherever_it_is(content: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        decode(content)

    assert refused.value.errors == {"payload": [NUMBER]}


def test_common_events_are_taken() -> None:
    assert problem(event(duration=125, cost=1.5e-7, hex="76e66710", note="1e999 E+999").payload) is None
