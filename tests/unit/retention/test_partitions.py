"""Which days of the table are created, and which ones are dropped."""

from datetime import UTC, date, datetime, timedelta

import pytest

from ingest.errors import StoreError
from ingest.events.ids import IdGenerator, first_id_of
from ingest.retention.partitions import (
    AHEAD_DAYS,
    MISSING_DAYS_MAX,
    Facts,
    Partition,
    Plan,
    Row,
    check_rows,
    day_of,
    end_of,
    name_of,
    plan,
)

TODAY = date(2026, 11, 25)
SIZE = 100


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def partitions(oldest: int, newest: int = -AHEAD_DAYS) -> list[Partition]:
    """The days between two ages, each of `SIZE` bytes, and the last partition."""
    made = [Partition(name_of(ago(days)), end_of(ago(days)), 10, SIZE) for days in range(oldest, newest - 1, -1)]
    return [*made, Partition("pmax", None)]


def us(day: date) -> int:
    """Noon, in Unix microseconds."""
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1_000_000)


def id_of(day: date) -> int:
    return first_id_of(us(day) // 1000)


def planned(
    of: list[Partition],
    *,
    keep_days: int | None = None,
    bytes_max: int | None = None,
    newest: date | None = TODAY,
    needed: int | None = None,
    today: date = TODAY,
) -> Plan:
    facts = Facts(us(today), of, None if newest is None else id_of(newest), needed)
    return plan(facts, keep_days, bytes_max)


def names(of: object) -> list[str]:
    return [partition.name for partition in of]  # type: ignore[attr-defined]


def test_day_ends_where_the_next_ones_ids_begin() -> None:
    last_ms = 1_764_115_199_999  # 2025-11-25T23:59:59.999Z
    last, following = (IdGenerator(4095, lambda ms=ms: ms * 1000).take(1)[0] for ms in (last_ms, last_ms + 1))  # type: ignore[misc]
    assert last < end_of(date(2025, 11, 25)) <= following
    assert (day_of(last), day_of(following)) == (date(2025, 11, 25), date(2025, 11, 26))


def test_days_to_come_are_created_after_the_existing_ones() -> None:
    assert planned(partitions(3, 0)).create == [ago(-days) for days in range(1, AHEAD_DAYS + 1)]
    assert planned(partitions(3)).create == []
    assert planned([Partition("pmax", None)]).create == [ago(-days) for days in range(AHEAD_DAYS + 1)]


def test_missed_days_get_partitions_of_their_own() -> None:
    assert planned(partitions(9, 5)).create == [ago(days) for days in range(4, -AHEAD_DAYS - 1, -1)]


def test_far_more_missing_days_than_anybody_forgets_are_a_wrong_clock() -> None:
    with pytest.raises(StoreError, match=r"more than 400 days.* REORGANIZE PARTITION pmax INTO \(PARTITION p2026"):
        planned(partitions(MISSING_DAYS_MAX + 2, MISSING_DAYS_MAX + 1), keep_days=1)


def test_nothing_is_dropped_unless_asked_for() -> None:
    assert planned(partitions(400)).drop == []


def test_days_before_the_last_ones_are_dropped() -> None:
    assert names(planned(partitions(4), keep_days=3).drop) == [name_of(ago(4)), name_of(ago(3))]
    assert names(planned(partitions(4), keep_days=1).drop) == [name_of(ago(n)) for n in (4, 3, 2, 1)]


def test_oldest_days_are_dropped_while_the_table_is_too_large() -> None:
    whole = partitions(4)
    size = SIZE * (len(whole) - 1)
    assert names(planned(whole, bytes_max=size).drop) == []
    assert names(planned(whole, bytes_max=size - SIZE).drop) == [name_of(ago(4))]
    assert names(planned(whole, bytes_max=1).drop) == [name_of(ago(n)) for n in (4, 3, 2, 1)]  # not today


def test_day_with_an_unpublished_event_is_kept() -> None:
    found = planned(partitions(4), needed=end_of(ago(3)) - 1, keep_days=1)
    assert names(found.drop) == [name_of(ago(4))]
    assert names(found.kept) == [name_of(ago(n)) for n in (3, 2, 1)]


@pytest.mark.parametrize("today", [TODAY, TODAY + timedelta(days=40)])
def test_last_days_of_a_table_that_takes_no_more_events_stay(today: date) -> None:
    """The database's clock does not matter."""
    idle = partitions(9)
    assert names(planned(idle, keep_days=3, newest=ago(6), today=today).drop) == [name_of(ago(9))]
    assert names(planned(idle, keep_days=1, newest=ago(6), today=today).drop) == [name_of(ago(n)) for n in (9, 8, 7)]
    assert names(planned(idle, bytes_max=1, newest=ago(6), today=today).drop) == [name_of(ago(n)) for n in (9, 8, 7)]


def test_event_of_a_wrong_clock_makes_no_day_older() -> None:
    assert names(planned(partitions(4), keep_days=3, newest=ago(-40)).drop) == [name_of(ago(4)), name_of(ago(3))]


def test_table_without_events_loses_no_day() -> None:
    assert planned(partitions(9), keep_days=1, bytes_max=1, newest=None).drop == ()


def test_what_an_interrupted_drop_left_may_go_if_it_is_older_than_what_is_kept() -> None:
    assert planned(partitions(4), keep_days=3).before_id == end_of(ago(3))
    assert planned(partitions(4), bytes_max=1).before_id == end_of(ago(4))
    assert planned(partitions(4)).before_id == 0


@pytest.mark.parametrize(
    "odd",
    [
        [Partition("p20261120", end_of(date(2026, 11, 24))), Partition("pmax", None)],
        [Partition("p20261120", end_of(date(2026, 11, 20)) - 1), Partition("pmax", None)],
        [Partition("old", end_of(date(2026, 11, 20))), Partition("pmax", None)],
        [Partition("p20261120", end_of(date(2026, 11, 20)))],
        [Partition("p20261120", end_of(date(2026, 11, 20))), Partition("rest", None)],
    ],
)
def test_partitions_whose_names_and_bounds_are_not_a_days_are_named_and_left_alone(odd: list[Partition]) -> None:
    with pytest.raises(StoreError, match=r"This service did not make it\. Nothing was dropped or made"):
        planned(odd, keep_days=1)


def test_rows_created_later_than_their_ids_say_tell_no_day() -> None:
    check_rows([Row(id_of(ago(3)), us(ago(3))), Row(id_of(ago(3)), us(ago(9)))], "it")  # it came late, from a spool
    with pytest.raises(StoreError, match=r"disagree in it: id 7 is of 2025-01-01T00:00:00Z, .* 2026-11-22T12:00:00Z"):
        check_rows([Row(id_of(ago(3)), us(ago(3))), Row(7, us(ago(3)))], "it")
    with pytest.raises(StoreError, match="its created_time is NULL"):
        check_rows([Row(id_of(ago(3)), None)], "it")
