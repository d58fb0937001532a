"""Properties of all forms of telephony servers, for any bytes."""

from zlib import crc32

from ingest.errors import Invalid, Malformed
from ingest.events.event import Event
from ingest.sources.base import Posted
from ingest.sources.form import built_in_forms
from ingest.sources.handler import event_of
from ingest.sources.mapping import Mapper
from tests.fuzz.checks import check_refusal
from tests.fuzz.oracle import judge

MAPPERS = [Mapper(name, form, None) for name, form in sorted(built_in_forms().items())]
NEEDED = {"call_id", "event_type"}
"""A request without one of these is no call."""


def check_source(body: bytes) -> None:
    """Check one form, which the bytes choose, so that a fuzzer's input always takes the same way."""
    _check(MAPPERS[crc32(body) % len(MAPPERS)], body)


def check_all_sources(body: bytes) -> None:
    for mapper in MAPPERS:
        _check(mapper, body)


def _check(mapper: Mapper, body: bytes) -> None:
    """A call is refused only if it has no id or no type, or if its body cannot be read at all."""
    outcome = _outcome(mapper, body)
    if isinstance(outcome, Event):
        verdict = judge(outcome.payload)
        assert not verdict.malformed, body
        assert verdict.wrong == set(), (body, verdict.wrong)
        assert verdict.document["call_id"] == outcome.call_id
        return
    check_refusal(outcome)
    assert isinstance(outcome, Malformed) or set(outcome.errors) <= NEEDED, (body, outcome)


def _outcome(mapper: Mapper, body: bytes) -> Event | Malformed | Invalid:
    try:
        return event_of(mapper.translate(Posted("http://localhost/", "", {}, body)))
    except (Malformed, Invalid) as exc:
        return exc
