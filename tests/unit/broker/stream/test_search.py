"""A pass over a stream can prove that an event is not there."""

from ingest.broker.stream.search import MARGIN_MS, WIDE_MARGIN_MS, SearchPass, Wanted
from ingest.events.ids import SEQUENCE_BITS, first_id_of, milliseconds_of
from tests.unit.making import NOW_US

SLOT = 3
NOW_MS = NOW_US // 1000


def made(count: int, slot: int = SLOT, seconds: float = 0.0) -> list[int]:
    """Return ids of one producer, one a second."""
    return [
        first_id_of(NOW_MS + int(seconds * 1000) + number * 1000) | slot << SEQUENCE_BITS for number in range(count)
    ]


def pass_over(ids: list[int], wanted: set[int], seen: list[int], late_ms: int = 0) -> SearchPass:
    """Read a stream with `seen` in it. The broker wrote each event `late_ms` after its producer's clock made it."""
    one_pass = SearchPass([Wanted(ids[0], wanted, ids[-1])])
    for event_id in seen:
        one_pass.look(event_id, milliseconds_of(event_id) + late_ms)
    return one_pass


def test_found_ids_need_no_further_evidence() -> None:
    ids = made(3)
    one_pass = pass_over(ids, {ids[1]}, ids)
    assert one_pass.found == {ids[1]}
    assert one_pass.is_conclusive(early=False, margin_ms=MARGIN_MS)


def test_older_event_of_the_producer_proves_an_early_begin() -> None:
    ids = made(4)
    assert pass_over(ids, {ids[1]}, [ids[0], ids[2], ids[3]]).is_conclusive(early=True, margin_ms=MARGIN_MS)
    assert not pass_over(ids, {ids[1]}, [ids[2], ids[3]]).is_conclusive(early=True, margin_ms=MARGIN_MS)
    assert pass_over(ids, {ids[1]}, [ids[2], ids[3]]).is_conclusive(early=True, margin_ms=WIDE_MARGIN_MS)


def test_pass_without_the_newest_event_proves_nothing() -> None:
    ids = made(3)
    assert not pass_over(ids, {ids[1]}, [ids[0]]).is_conclusive(early=True, margin_ms=WIDE_MARGIN_MS)
    assert not pass_over(ids, {ids[1]}, []).is_conclusive(early=True, margin_ms=WIDE_MARGIN_MS)


def test_a_clock_ahead_is_seen() -> None:
    ids = made(3)
    one_pass = pass_over(ids, {ids[1]}, [ids[0], ids[2]], late_ms=-60_000)
    assert one_pass.ahead_ms == 60_000
    assert not one_pass.is_conclusive(early=False, margin_ms=MARGIN_MS)
    assert pass_over(ids, {ids[1]}, ids, late_ms=60_000).ahead_ms == 0


def test_events_of_other_producers_are_no_evidence() -> None:
    ids = made(3)
    others = [*made(1, slot=SLOT + 1, seconds=-1), *made(1, seconds=-1), ids[2]]
    one_pass = pass_over(ids, {ids[1]}, others)
    assert not one_pass.is_conclusive(early=True, margin_ms=MARGIN_MS)
    assert one_pass.found == set()
