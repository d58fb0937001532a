"""Which days of the table are made, and which go."""

from datetime import date, timedelta

from ingest.ids import IdGenerator
from ingest.retention import AHEAD_DAYS, Partition, day_of, end_of, name_of, plan

TODAY = date(2026, 11, 25)
SIZE = 100


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def partitions(oldest: int, newest: int = -AHEAD_DAYS) -> list[Partition]:
    """Of the days from so many ago to so many ago, each of `SIZE` bytes, and the last."""
    made = [Partition(name_of(ago(days)), end_of(ago(days)), 10, SIZE) for days in range(oldest, newest - 1, -1)]
    return [*made, Partition("pmax", None)]


def names(of: object) -> list[str]:
    return [partition.name for partition in of]  # type: ignore[attr-defined]


def test_day_ends_where_the_next_ones_ids_begin() -> None:
    last_ms = 1_764_115_199_999  # 2025-11-25T23:59:59.999Z
    last, following = (IdGenerator(4095, lambda ms=ms: ms * 1000).take(1)[0] for ms in (last_ms, last_ms + 1))  # type: ignore[misc]
    assert last < end_of(date(2025, 11, 25)) <= following
    assert (day_of(last), day_of(following)) == (date(2025, 11, 25), date(2025, 11, 26))


def test_days_to_come_are_made_behind_those_that_are_there() -> None:
    assert plan(partitions(3, 0), TODAY, None).create == [ago(-days) for days in range(1, AHEAD_DAYS + 1)]
    assert plan(partitions(3), TODAY, None).create == []
    assert plan(partitions(3, 2), TODAY, None).create[0] == TODAY  # nobody ran it yesterday: that day is in `pmax`


def test_nothing_is_dropped_unless_asked_for() -> None:
    assert plan(partitions(400), TODAY, None).drop == []


def test_days_before_the_last_ones_are_dropped() -> None:
    assert names(plan(partitions(4), TODAY, None, keep_days=3).drop) == [name_of(ago(4)), name_of(ago(3))]
    assert names(plan(partitions(4), TODAY, None, keep_days=1).drop) == [name_of(ago(n)) for n in (4, 3, 2, 1)]


def test_oldest_days_are_dropped_while_the_table_is_too_large() -> None:
    whole = partitions(4)
    size = SIZE * (len(whole) - 1)
    assert names(plan(whole, TODAY, None, bytes_max=size).drop) == []
    assert names(plan(whole, TODAY, None, bytes_max=size - SIZE).drop) == [name_of(ago(4))]
    assert names(plan(whole, TODAY, None, bytes_max=1).drop) == [name_of(ago(n)) for n in (4, 3, 2, 1)]  # not today


def test_day_with_an_unpublished_event_is_kept() -> None:
    needed = end_of(ago(3)) - 1
    found = plan(partitions(4), TODAY, needed, keep_days=1)
    assert names(found.drop) == [name_of(ago(4))]
    assert names(found.kept) == [name_of(ago(n)) for n in (3, 2, 1)]
