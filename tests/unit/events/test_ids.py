from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events.ids import (
    EPOCH_MS,
    SEQUENCE_MAX,
    SLOTS_MAX,
    IdGenerator,
    ids_of_second,
    milliseconds_of,
    slot_of,
)
from tests.unit.fakes import FakeClock
from tests.unit.making import NOW_US

NOW_MS = NOW_US // 1000


def test_layout_is_41_bits_time_12_bits_slot_10_bits_sequence() -> None:
    first, second = IdGenerator(0b1000_0000_0001, lambda: (EPOCH_MS + 5) * 1000).take(2)

    assert first == 5 << 22 | 0b1000_0000_0001 << 10
    assert second == first + 1
    assert (SLOTS_MAX, SEQUENCE_MAX) == (1 << 12, 1 << 10)


def test_id_fits_a_signed_bigint_until_2094() -> None:
    last_ms = EPOCH_MS + (1 << 41) - 1

    (made,) = IdGenerator(SLOTS_MAX - 1, lambda: last_ms * 1000).take(1)

    assert made < 1 << 63
    assert milliseconds_of(made) == last_ms


@pytest.mark.parametrize("slot", [0, 1, 2047, SLOTS_MAX - 1])
def test_time_and_slot_are_read_off_an_id(slot: int) -> None:
    (made,) = IdGenerator(slot, lambda: NOW_US).take(1)

    assert (milliseconds_of(made), slot_of(made)) == (NOW_MS, slot)


@pytest.mark.parametrize("slot", [-1, SLOTS_MAX])
def test_slot_must_fit_its_bits(slot: int) -> None:
    with pytest.raises(ValueError, match="slot"):
        IdGenerator(slot, lambda: NOW_US)


def test_a_full_millisecond_borrows_from_the_next() -> None:
    ids = IdGenerator(7, lambda: NOW_US).take(2 * SEQUENCE_MAX + 1)

    assert [milliseconds_of(ids[n]) - NOW_MS for n in (0, SEQUENCE_MAX - 1, SEQUENCE_MAX, -1)] == [0, 0, 1, 2]
    assert {slot_of(made) for made in ids} == {7}
    assert all(earlier < later for earlier, later in pairwise(ids))


def test_ids_go_on_increasing_when_the_clock_steps_back(clock: FakeClock) -> None:
    generator = IdGenerator(1, clock.now_us)
    before = generator.take(3)
    clock.advance(-3600)

    after = generator.take(3)

    assert after[0] > before[-1]
    assert milliseconds_of(after[0]) == NOW_MS


def test_nothing_at_or_below_the_floor_is_made_again() -> None:
    earlier = IdGenerator(1, lambda: NOW_US)
    made = earlier.take(5)

    later = IdGenerator(1, lambda: NOW_US, last_issued_ms=earlier.last_ms)

    assert milliseconds_of(later.take(1)[0]) == earlier.last_ms + 1
    assert earlier.last_ms == milliseconds_of(made[-1])


def test_a_floor_in_the_past_changes_nothing() -> None:
    assert IdGenerator(1, lambda: NOW_US, NOW_MS - 1).take(1) == IdGenerator(1, lambda: NOW_US).take(1)


@given(st.lists(st.tuples(st.integers(-5_000_000, 5_000_000), st.integers(1, 3000)), max_size=20))
def test_ids_of_one_slot_are_unique_and_ascend_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    clock = FakeClock()
    generator = IdGenerator(3, clock.now_us)
    ids: list[int] = []

    for step_us, count in steps:
        clock.us += step_us
        ids += generator.take(count)

    assert len(ids) == sum(count for _, count in steps)
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert all(slot_of(made) == 3 for made in ids)
    assert all(milliseconds_of(made) <= generator.last_ms for made in ids)


@pytest.mark.parametrize("ms", [0, 1, 999, 1000])
def test_ids_of_a_second_are_those_made_within_it(ms: int) -> None:
    start = NOW_MS // 1000 * 1000
    one, other = (IdGenerator(slot, lambda: (start + ms) * 1000).take(1)[0] for slot in (0, SLOTS_MAX - 1))
    first = IdGenerator(0, lambda: start * 1000).take(1)[0]
    assert (one in ids_of_second(first), other in ids_of_second(first)) == (ms < 1000, ms < 1000)


def test_no_id_is_below_the_producer_although_the_clock_steps_back_before_the_first(clock: FakeClock) -> None:
    """A search of the stream takes the producer for the least of its ids."""
    generator = IdGenerator(1, clock.now_us)
    clock.advance(-10)

    assert generator.take(1) == [generator.producer]
