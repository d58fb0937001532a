"""Ids of adopted rows: unique, ordered by time and by the original's id, and of the slot that no worker has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events.ids import CLOCKS_APART_MS_MAX, EPOCH_MS, SEQUENCE_MAX, milliseconds_of, slot_of
from ingest.store.mysql.laravel.numbering import NewRow, Numbering, OldRow, Window, id_of, known_time, tick_of

SLOT = 7
SECOND = 1_000_000
START_US = (EPOCH_MS + 100_000_000) * 1000


class Adopted:
    """Numbers rows in chunks, as the copy does, with the ids of earlier chunks as its table."""

    def __init__(self, unit_us: int) -> None:
        self.rows: list[NewRow] = []
        self._unit_us = unit_us

    def add(self, rows: list[OldRow], chunk: int) -> None:
        for start in range(0, len(rows), chunk):
            newest = max((tick_of(row.id) for row in self.rows), default=0)
            numbering = Numbering(SLOT, newest, self._unit_us)
            part = rows[start : start + chunk]
            last = {window: self._last(window) for window in numbering.windows(part)}
            known = {window: tick for window, tick in last.items() if tick is not None}
            self.rows += numbering.number(part, known, START_US)

    def _last(self, window: Window) -> int | None:
        ticks = [tick_of(row.id) for row in self.rows]
        return max((tick for tick in ticks if window.start <= tick < window.end), default=None)


def rows_at(*times_us: int | None) -> list[OldRow]:
    return [OldRow(number, us) for number, us in enumerate(times_us, start=1)]


@pytest.mark.parametrize("unit_us", [1, 1000, SECOND])
@given(
    times=st.lists(st.integers(-2_000_000, 6_000_000), max_size=60),
    chunk=st.integers(1, 9),
    before_epoch=st.booleans(),
)
def test_ids_are_unique_and_follow_time_then_old_id(
    unit_us: int, times: list[int], chunk: int, before_epoch: bool
) -> None:
    start = EPOCH_MS * 1000 if before_epoch else START_US
    adopted = Adopted(unit_us)
    adopted.add(rows_at(*(start + us // unit_us * unit_us for us in times)), chunk)

    assert len({row.id for row in adopted.rows}) == len(times)
    assert {slot_of(row.id) for row in adopted.rows} <= {SLOT}
    exact_us = max(unit_us, 1000)
    if not before_epoch:
        by_time = sorted(adopted.rows, key=lambda row: (row.created_us // exact_us, row.old_id))
        assert by_time == sorted(adopted.rows, key=lambda row: row.id)
        assert all(milliseconds_of(row.id) >= row.created_us // 1000 for row in adopted.rows)


def test_more_rows_than_a_millisecond_holds_go_on_in_the_next_one() -> None:
    adopted = Adopted(1000)
    adopted.add(rows_at(*[START_US] * (2 * SEQUENCE_MAX + 1), START_US + 1000), 500)

    ids = [row.id for row in adopted.rows]
    assert ids == sorted(set(ids))
    assert milliseconds_of(ids[-1]) - START_US // 1000 == 2


def test_late_row_of_a_full_time_still_gets_an_id_of_its_own() -> None:
    adopted = Adopted(1000)
    adopted.add(rows_at(*[START_US] * SEQUENCE_MAX, START_US + 5000, START_US), 100)

    assert len({row.id for row in adopted.rows}) == SEQUENCE_MAX + 2


def test_late_row_is_not_given_an_id_that_overflowed_into_its_time() -> None:
    adopted = Adopted(1000)
    times = [START_US] * (SEQUENCE_MAX + 5) + [START_US + 9000, START_US + 1000]
    adopted.add(rows_at(*times), len(times))

    assert len({row.id for row in adopted.rows}) == len(times)


def test_row_without_a_time_gets_that_of_the_row_before_it() -> None:
    adopted = Adopted(SECOND)
    adopted.add(rows_at(None, START_US + SECOND, None), 10)

    assert [row.created_us for row in adopted.rows] == [START_US, START_US + SECOND, START_US + SECOND]
    assert [row.old_id for row in sorted(adopted.rows, key=lambda row: row.id)] == [1, 2, 3]


def test_rows_before_the_epoch_have_ids_that_no_probe_uses() -> None:
    adopted = Adopted(SECOND)
    adopted.add(rows_at(0, EPOCH_MS * 1000 - 1, EPOCH_MS * 1000), 10)

    assert [milliseconds_of(row.id) for row in adopted.rows] == [EPOCH_MS + 1] * 3


def test_time_of_the_future_is_no_time() -> None:
    now_us = START_US
    assert known_time(now_us + CLOCKS_APART_MS_MAX * 1000, now_us) is not None
    assert known_time(now_us + CLOCKS_APART_MS_MAX * 1000 + 1, now_us) is None


def test_tick_and_id_are_each_others_reverse() -> None:
    assert tick_of(id_of(123_456_789, SLOT)) == 123_456_789
