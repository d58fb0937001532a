import logging
from typing import Any

from ingest.telemetry.log_rate_limit import KINDS_MAX, LINES_MAX, WINDOW_SECONDS, RepeatFilter, RepeatLimit
from tests.unit.fakes import FakeClock


def record(message: str = "request refused", **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("ingest.requests", logging.INFO, "", 0, message, (), None)
    made.__dict__.update(extra)
    return made


def test_repeated_lines_are_suppressed_and_counted_in_the_next_window(clock: FakeClock) -> None:
    repeats = RepeatFilter(clock.monotonic)
    written = [repeats.filter(record(code="malformed", request_id=str(number))) for number in range(LINES_MAX + 3)]
    assert written == [True] * LINES_MAX + [False] * 3

    clock.advance(WINDOW_SECONDS)
    later = record(code="malformed")
    assert repeats.filter(later)
    assert later.__dict__["left_out"] == 3
    assert repeats.filter(after := record(code="malformed"))
    assert "left_out" not in after.__dict__


def test_kinds_do_not_crowd_each_other_out(clock: FakeClock) -> None:
    repeats = RepeatFilter(clock.monotonic)
    for _ in range(LINES_MAX + 1):
        repeats.filter(record(code="malformed"))
    assert repeats.filter(record(code="overloaded"))
    assert repeats.filter(record("commit failed unexpectedly"))
    assert not repeats.filter(record(code="malformed"))


def test_kinds_are_bounded(clock: FakeClock) -> None:
    repeats = RepeatLimit(clock.monotonic)
    for number in range(3 * KINDS_MAX):
        assert repeats.left_out(f"message {number}") == 0
    assert len(repeats._seen) <= KINDS_MAX
