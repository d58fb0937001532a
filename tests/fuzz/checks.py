"""Properties that hold for any bytes sent as an event or as a batch."""

import contextlib
import json

from ingest.errors import BodyTooLarge, Invalid, Malformed, Rejected
from ingest.events.event import Event, decode
from ingest.http.batch_body import split
from ingest.http.responses import response_to
from tests.fuzz.oracle import judge, parsed, without_mark

ITEMS_MAX = 100
FEW_ITEMS = 3
JSON_BLANKS = b" \t\r\n"


def check_event(body: bytes) -> None:
    """The oracle decides whether the body is stored byte for byte, or refused with which fields."""
    verdict = judge(body)
    outcome = _outcome(body)
    if isinstance(outcome, Event):
        assert not verdict.malformed, body
        assert verdict.wrong == set(), body
        assert outcome.payload == without_mark(body)
        assert (outcome.call_id, outcome.event_type) == (verdict.document["call_id"], verdict.document["event_type"])
        return
    check_refusal(outcome)
    assert verdict.wrong == set(outcome.errors) if isinstance(outcome, Invalid) else verdict.malformed, (body, outcome)


def _outcome(body: bytes) -> Event | Rejected:
    try:
        return decode(body)
    except Rejected as exc:
        return exc


def check_refusal(error: Rejected) -> None:
    answer = response_to(error)
    content = json.loads(answer.body)
    assert content["message"]
    if isinstance(error, Invalid):
        assert (answer.status, list(content)) == (422, ["message", "errors"])
        assert all(len(texts) == 1 and texts[0].endswith(".") for texts in content["errors"].values())
    else:
        assert isinstance(error, Malformed)
        assert (answer.status, list(content)) == (400, ["message"])


def check_batch(body: bytes) -> None:
    """All items are found in order, byte for byte. A limit changes only the allowed number of items."""
    try:
        items = [*split(body, ITEMS_MAX)]
    except (Malformed, BodyTooLarge) as exc:
        _check_unsplit(body, exc)
        return
    assert 0 < len(items) <= ITEMS_MAX
    plain = without_mark(body)
    if plain.strip(JSON_BLANKS).startswith(b"["):
        with contextlib.suppress(UnicodeDecodeError):  # the item with these bytes is refused later
            assert parsed(b"[" + b",".join(items) + b"]") == parsed(plain)
    else:
        assert items == _lines(plain)
    for item in items[:FEW_ITEMS]:
        check_event(item)
    if len(items) > FEW_ITEMS:
        with contextlib.suppress(BodyTooLarge):
            raise AssertionError([*split(body, FEW_ITEMS)])
    assert [*split(body, len(items))] == items


def _check_unsplit(body: bytes, error: Malformed | BodyTooLarge) -> None:
    body = without_mark(body)
    if not body.strip(JSON_BLANKS).startswith(b"["):
        assert len(_lines(body)) > ITEMS_MAX if isinstance(error, BodyTooLarge) else not _lines(body)
        return
    try:
        document = parsed(body)
    except (ValueError, RecursionError):
        return
    assert len(document) > ITEMS_MAX if isinstance(error, BodyTooLarge) else not document, body


def _lines(body: bytes) -> list[bytes]:
    return [line for line in (line.strip(JSON_BLANKS) for line in body.split(b"\n")) if line]
