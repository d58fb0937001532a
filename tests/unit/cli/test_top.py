"""The lines of `ingest top`."""

import pytest
from msgspec import structs

from ingest.cli.top.screen import cut, duration, plain, screen, sparkline
from ingest.status.figures import status_of
from ingest.status.health import Report
from ingest.status.samples import Sample
from ingest.status.snapshot import Error, Limits, Status, Workers

ERROR = Error(0.0, "error", "ingest.tests", "a \x1b[31mred\x1b[0m text\nof two lines " + "x" * 300, 0)


@pytest.fixture
def status() -> Status:
    samples = [Sample(float(time), {"ingest_events_accepted_total": time**2}, {}, {}) for time in range(0, 100, 5)]
    return status_of(Report("ready", {"database": "ok"}), Limits(1, 0, 10), samples[-1], samples[:-1], [ERROR])


@pytest.mark.parametrize("width", [20, 50, 80, 200])
def test_no_line_is_wider_than_the_terminal(status: Status, width: int) -> None:
    wide = [line for line in screen(status, plain, width) if len(line) > max(width, 42)]

    assert wide == []


def test_unknown_backlog_is_shown_as_unknown(status: Status) -> None:
    (line,) = (line for line in screen(status, plain, 80) if line.startswith("backlog"))

    assert line.split()[1] == "unknown"


def test_deaths_of_workers_are_shown_with_their_time(status: Status) -> None:
    def line(died: int) -> str:
        workers = Workers(1, 1, restarts=3, died_lately=died)
        shown = screen(structs.replace(status, workers=workers), plain, 80)
        return next(line for line in shown if line.startswith("workers")).removeprefix("workers").strip()

    assert line(0) == "ok"
    assert line(1) == "1 of 1, 1 death in the last ten minutes"
    assert line(2) == "1 of 1, 2 deaths in the last ten minutes"


def test_texts_of_errors_cannot_control_the_terminal(status: Status) -> None:
    assert all(line.isprintable() for line in screen(status, plain, 500))


def test_sparkline_shows_the_latest_values_relative_to_the_largest() -> None:
    assert sparkline([100.0, 0.0, 4.0, 8.0], 3) == "▁▅█"
    assert sparkline([0.0, 0.0], 5) == "▁▁"
    assert sparkline([8.0, None, 0.0], 3) == "█ ▁"
    assert sparkline([None], 1) == " "
    assert sparkline([], 5) == sparkline([1.0], 0) == ""


def test_long_text_is_cut_with_a_mark() -> None:
    assert cut("a text", 6) == "a text"
    assert cut("a longer text", 6) == "a lon…"


@pytest.mark.parametrize(("seconds", "text"), [(0.00123, "1.23 ms"), (1.5, "1.5 s"), (300.0, "5 min")])
def test_durations_have_units_that_fit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
