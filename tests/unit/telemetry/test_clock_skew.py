"""The watch reports a difference between this host's clock and the database's."""

import pytest

from ingest.telemetry.clock_skew import APART_SECONDS_MAX, ClockWatch

SECOND_US = 1_000_000
LIMIT_US = int(APART_SECONDS_MAX * SECOND_US)


@pytest.mark.parametrize(
    ("database_us", "seconds", "problem"),
    [
        (100 * SECOND_US, 0.0, None),
        (100 * SECOND_US - LIMIT_US, APART_SECONDS_MAX, None),
        (102 * SECOND_US, 0.0, None),  # the answer took this time
        (39 * SECOND_US, 61.0, "61.0 s ahead of the database's"),
        (162 * SECOND_US, 60.0, "60.0 s behind the database's"),
    ],
)
def test_difference_beyond_the_time_of_the_query_is_reported(
    database_us: int, seconds: float, problem: str | None
) -> None:
    shown: list[float] = []
    clocks = ClockWatch(shown.append)
    clocks.look(100 * SECOND_US, database_us, 102 * SECOND_US)
    assert shown == [seconds]
    assert (clocks.problem() is None) if problem is None else (problem in (clocks.problem() or ""))


def test_difference_is_logged_once_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    clocks = ClockWatch()
    with caplog.at_level("INFO"):
        for database_us in (0, 0, 100 * SECOND_US, 100 * SECOND_US):
            clocks.look(100 * SECOND_US, database_us, 100 * SECOND_US)
    assert [record.message for record in caplog.records] == ["the clocks differ", "the clocks agree again"]
    assert clocks.problem() is None
