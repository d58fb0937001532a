"""Properties of all forms of telephony servers, for any bytes."""

import re
from zlib import crc32

from ingest.errors import Invalid, Malformed
from ingest.events.event import Event
from ingest.sources.base import Posted
from ingest.sources.flat import FlatMapper, flat_mapper
from ingest.sources.form import built_in_forms
from ingest.sources.handler import event_of
from ingest.sources.mapping import Mapper
from tests.fuzz.checks import check_refusal
from tests.fuzz.oracle import judge

FORMS = sorted(built_in_forms().items())
MAPPERS = [(Mapper(name, form, None), flat_mapper(name, form)) for name, form in FORMS]
NOW = re.compile(rb'"timestamp":"[^"]*"')
NEEDED = {"call_id", "event_type"}
"""A request without one of these is no call."""


def check_source(body: bytes) -> None:
    """Check one form, which the bytes choose, so that a fuzzer's input always takes the same way."""
    _check(*MAPPERS[crc32(body) % len(MAPPERS)], body)


def check_all_sources(body: bytes) -> None:
    for mapper, flat in MAPPERS:
        _check(mapper, flat, body)


def _check(mapper: Mapper, flat: FlatMapper | None, body: bytes) -> None:
    """A call is refused only if it has no id or no type, or if its body cannot be read at all.

    The short way gives the same event as the long one.
    """
    outcome = _outcome(mapper, body)
    if short := flat and flat.event(body):
        assert isinstance(outcome, Event), (body, outcome)
        assert short.event.call_id == outcome.call_id, body
        assert short.event.event_type == outcome.event_type, body
        assert _without_time(short.event.payload, body) == _without_time(outcome.payload, body)
        assert short.has_time == mapper.translate(Posted("", "", {}, body)).has_time, body
    if isinstance(outcome, Event):
        verdict = judge(outcome.payload)
        assert not verdict.malformed, body
        assert verdict.wrong == set(), (body, verdict.wrong)
        assert verdict.document["call_id"] == outcome.call_id
        return
    check_refusal(outcome)
    assert isinstance(outcome, Malformed) or set(outcome.errors) <= NEEDED, (body, outcome)


def _without_time(payload: bytes, body: bytes) -> bytes:
    """The time of the request differs between the two ways."""
    found = NOW.search(payload)
    return payload.replace(found[0], b"", 1) if found and found[0] not in body else payload


def _outcome(mapper: Mapper, body: bytes) -> Event | Malformed | Invalid:
    try:
        return event_of(mapper.translate(Posted("http://localhost/", "", {}, body)))
    except (Malformed, Invalid) as exc:
        return exc
