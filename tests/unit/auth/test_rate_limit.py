"""Rate limits, and their exchange between workers."""

from pathlib import Path

import pytest

from ingest.auth.rate_limit import SharedRateLimits, TokenBucket
from tests.unit.fakes import FakeClock

RATE, BURST = 10.0, 20.0


@pytest.fixture
def bucket(clock: FakeClock) -> TokenBucket:
    return TokenBucket(RATE, BURST, clock.monotonic)


def taken_at_once(bucket: TokenBucket) -> int:
    """The number of single events that the bucket allows now."""
    count = 0
    while not bucket.wait_seconds():
        bucket.take(1)
        count += 1
    return count


def test_burst_is_allowed_after_a_pause_and_then_the_rate(bucket: TokenBucket, clock: FakeClock) -> None:
    assert taken_at_once(bucket) == BURST
    clock.advance(1)
    assert taken_at_once(bucket) == RATE
    clock.advance(3600)
    assert taken_at_once(bucket) == BURST


def test_wait_is_until_the_next_event_may_come(bucket: TokenBucket, clock: FakeClock) -> None:
    taken_at_once(bucket)
    assert bucket.wait_seconds() == pytest.approx(1 / RATE)
    clock.advance(1 / RATE + 1e-9)
    assert bucket.wait_seconds() == 0


def test_batch_above_the_burst_delays_later_events(bucket: TokenBucket, clock: FakeClock) -> None:
    assert bucket.wait_seconds() == 0
    bucket.take(100)
    assert bucket.wait_seconds() == pytest.approx((100 - BURST + 1) / RATE)


def test_larger_burst_is_filled_by_the_rate_alone(bucket: TokenBucket, clock: FakeClock) -> None:
    assert taken_at_once(bucket) == BURST
    bucket.limit(RATE, 10 * BURST)
    assert taken_at_once(bucket) == 0
    clock.advance(1)
    assert taken_at_once(bucket) == RATE


def test_smaller_burst_is_effective_at_once(bucket: TokenBucket) -> None:
    bucket.limit(RATE, 3)

    assert taken_at_once(bucket) == 3


class Worker:
    """A worker that has the bucket of one client."""

    def __init__(self, folder: Path, worker_index: int, clock: FakeClock) -> None:
        self.bucket = TokenBucket(RATE, BURST, clock.monotonic)
        self.sharing = SharedRateLimits(folder, worker_index, lambda: {"pbx": self.bucket})


def test_events_of_other_workers_are_subtracted_once(tmp_path: Path, clock: FakeClock) -> None:
    one, other = Worker(tmp_path, 0, clock), Worker(tmp_path, 1, clock)
    for worker in (one, other):
        worker.sharing.share()
    one.bucket.take(5)
    one.sharing.share()
    for _ in range(3):
        other.sharing.share()

    assert taken_at_once(other.bucket) == BURST - 5


def test_successor_of_a_killed_worker_counts_from_zero(tmp_path: Path, clock: FakeClock) -> None:
    one, other = Worker(tmp_path, 0, clock), Worker(tmp_path, 1, clock)
    one.bucket.take(7)
    one.sharing.share()
    other.sharing.share()
    successor = Worker(tmp_path, 0, clock)
    successor.bucket.take(8)
    successor.sharing.share()
    other.sharing.share()

    assert taken_at_once(other.bucket) == BURST - 8


def test_events_before_the_start_of_a_worker_are_not_subtracted(tmp_path: Path, clock: FakeClock) -> None:
    one = Worker(tmp_path, 0, clock)
    one.bucket.take(15)
    one.sharing.share()
    other = Worker(tmp_path, 1, clock)
    other.sharing.share()

    assert taken_at_once(other.bucket) == BURST


def test_limit_that_another_worker_loses_for_a_while_adds_no_events(tmp_path: Path, clock: FakeClock) -> None:
    one, other = Worker(tmp_path, 0, clock), Worker(tmp_path, 1, clock)
    for worker in (one, other):
        worker.sharing.share()
    one.bucket.take(5)
    one.sharing.share()
    other.sharing.share()
    published = (tmp_path / "0.json").read_text()
    (tmp_path / "0.json").write_text(published.replace('"pbx":5', ""))
    other.sharing.share()
    assert taken_at_once(other.bucket) == BURST - 5

    (tmp_path / "0.json").write_text(published.replace('"pbx":5', '"pbx":6'))
    other.sharing.share()
    assert other.bucket.wait_seconds() == pytest.approx(2 / RATE)


def test_unreadable_file_is_ignored(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "7.json").write_text("{")
    (tmp_path / "8.json").write_bytes(b'{"life": "\xff", "taken": {}}')
    (tmp_path / "9.json").mkdir()
    one = Worker(tmp_path, 0, clock)
    one.sharing.share()

    assert taken_at_once(one.bucket) == BURST


def test_no_file_is_written_if_no_client_has_a_rate(tmp_path: Path) -> None:
    SharedRateLimits(tmp_path, 0, dict).share()

    assert not list(tmp_path.iterdir())
