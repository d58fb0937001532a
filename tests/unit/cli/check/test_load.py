"""The schedule of `ingest check`."""

from collections.abc import Callable

import pytest

from ingest.cli.check.load import LATE_SECONDS_MAX, Load
from ingest.cli.send.service import NoAnswer, Reply

ACCEPTED = Reply(200, 0.0, {}, False)


class SlowService:
    """Time passes only while it answers."""

    def __init__(self, seconds: float) -> None:
        self.now = 100.0
        self.numbers: list[int] = []
        self._seconds = seconds

    def send(self, number: int) -> Reply:
        self.numbers.append(number)
        self.now += self._seconds
        return ACCEPTED


def test_latency_counts_from_the_scheduled_time_if_an_earlier_answer_holds_an_event_up() -> None:
    service = SlowService(1.0)

    measured = Load([service.send], rate=1000, count=3, clock=lambda: service.now).run()

    assert measured.latencies == pytest.approx([1.0, 1.999, 2.998])
    assert (measured.lags, measured.unsent, measured.failed) == ([0.0] * 3, 0, 0)


def test_service_that_is_far_too_slow_does_not_make_the_run_endless() -> None:
    service = SlowService(LATE_SECONDS_MAX)

    measured = Load([service.send], rate=1000, count=100, clock=lambda: service.now).run()

    assert len(service.numbers) == 2
    assert (len(measured.latencies), measured.unsent, measured.failed) == (2, 98, 98)


def test_time_of_a_generator_that_is_late_is_told_apart() -> None:
    times = iter([0.0, 0.0, 0.3, 0.5, 0.5, 0.5])

    measured = Load([lambda _: ACCEPTED], rate=1000, count=1, clock=lambda: next(times)).run()

    assert (measured.latencies, measured.lags) == ([0.5], [0.3])


def test_every_event_is_sent_once_over_all_connections() -> None:
    numbers: list[int] = []

    def sender() -> Callable[[int], Reply]:
        return lambda number: numbers.append(number) or ACCEPTED  # type: ignore[func-returns-value]

    measured = Load([sender() for _ in range(8)], rate=1e6, count=200).run()

    assert (sorted(numbers), len(measured.latencies)) == (list(range(200)), 200)


def test_refusals_and_silence_are_counted_by_their_reasons() -> None:
    def send(number: int) -> Reply:
        if number < 2:
            raise NoAnswer("no answer: gone")
        return Reply(503, 1.0, {"message": "Overloaded."}, False)

    measured = Load([send], rate=1e6, count=5).run()

    assert measured.errors == {"no answer: gone": 2, "answered 503: Overloaded.": 3}
    assert (measured.failed, measured.latencies) == (5, [])
