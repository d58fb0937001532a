"""The background tasks of a worker wake up together, and no later than they asked for."""

import pytest

from ingest.ticks import EARLY_TICKS, TICKS_PER_SECOND, seconds_to_tick

PROCESS_IDS = (1, 2, 3, 4711, 4194303)


@pytest.mark.parametrize("process_id", PROCESS_IDS)
@pytest.mark.parametrize("seconds", [0.5, 0.75, 1.0, 5.0])
def test_pauses_end_together_and_never_late(process_id: int, seconds: float) -> None:
    ends = set()
    for now in (100.0, 100.125, 100.3, 100.449, 100.5):
        left = seconds_to_tick(now, seconds, process_id)
        assert 0 < left <= seconds + EARLY_TICKS / TICKS_PER_SECOND
        ends.add(round((now + left) * TICKS_PER_SECOND % 1, 6))

    assert len(ends) == 1


def test_timer_that_is_early_adds_no_tick() -> None:
    left = seconds_to_tick(100.0, 1.0, 1)
    tick = 100.0 + left

    assert seconds_to_tick(tick - 0.001, 1.0, 1) == pytest.approx(1.001)
    assert seconds_to_tick(tick + 0.001, 1.0, 1) == pytest.approx(0.999)


def test_processes_pause_until_different_times() -> None:
    assert len({round(seconds_to_tick(100.0, 1.0, process_id), 3) for process_id in PROCESS_IDS}) == 5


def test_short_pause_is_exact() -> None:
    assert seconds_to_tick(100.0, 0.02, 1) == 0.02
