"""When a reading of a stream is evidence that an event is not there."""

from ingest.broker.stream.search import MARGIN_MS, WIDE_MARGIN_MS, Sight, Wanted
from ingest.events.ids import SEQUENCE_BITS, first_id_of, milliseconds_of
from tests.unit.making import NOW_US

SLOT = 3
NOW_MS = NOW_US // 1000


def made(count: int, slot: int = SLOT, seconds: float = 0.0) -> list[int]:
    """Ids of one writer, one a second."""
    return [
        first_id_of(NOW_MS + int(seconds * 1000) + number * 1000) | slot << SEQUENCE_BITS for number in range(count)
    ]


def sight_of(ids: list[int], wanted: set[int], seen: list[int], late_ms: int = 0) -> Sight:
    """What is read of a stream with `seen` in it, each written so long after it was made by its writer's clock."""
    sight = Sight([Wanted(ids[0], wanted, ids[-1])])
    for event_id in seen:
        sight.look(event_id, milliseconds_of(event_id) + late_ms)
    return sight


def test_what_was_found_needs_no_further_evidence() -> None:
    ids = made(3)
    sight = sight_of(ids, {ids[1]}, ids)
    assert sight.found == {ids[1]}
    assert sight.tells(early=False, margin_ms=MARGIN_MS)


def test_an_older_event_of_the_writer_shows_that_the_reading_began_early_enough() -> None:
    ids = made(4)
    assert sight_of(ids, {ids[1]}, [ids[0], ids[2], ids[3]]).tells(early=True, margin_ms=MARGIN_MS)
    assert not sight_of(ids, {ids[1]}, [ids[2], ids[3]]).tells(early=True, margin_ms=MARGIN_MS)
    assert sight_of(ids, {ids[1]}, [ids[2], ids[3]]).tells(early=True, margin_ms=WIDE_MARGIN_MS)


def test_a_reading_that_has_not_come_to_the_newest_event_tells_nothing() -> None:
    ids = made(3)
    assert not sight_of(ids, {ids[1]}, [ids[0]]).tells(early=True, margin_ms=WIDE_MARGIN_MS)
    assert not sight_of(ids, {ids[1]}, []).tells(early=True, margin_ms=WIDE_MARGIN_MS)


def test_a_clock_ahead_is_seen() -> None:
    ids = made(3)
    sight = sight_of(ids, {ids[1]}, [ids[0], ids[2]], late_ms=-60_000)
    assert sight.ahead_ms == 60_000
    assert not sight.tells(early=False, margin_ms=MARGIN_MS)
    assert sight_of(ids, {ids[1]}, ids, late_ms=60_000).ahead_ms == 0


def test_events_of_other_writers_are_no_evidence() -> None:
    ids = made(3)
    others = [*made(1, slot=SLOT + 1, seconds=-1), *made(1, seconds=-1), ids[2]]
    sight = sight_of(ids, {ids[1]}, others)
    assert not sight.tells(early=True, margin_ms=MARGIN_MS)
    assert sight.found == set()
