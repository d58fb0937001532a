"""How many events a name may send, and how workers tell each other."""

from pathlib import Path

import pytest

from ingest.auth.rate_limit import SharedRateLimits, TokenBucket
from tests.unit.fakes import FakeClock

RATE, BURST = 10.0, 20.0


@pytest.fixture
def bucket(clock: FakeClock) -> TokenBucket:
    return TokenBucket(RATE, BURST, clock.monotonic)


def taken_at_once(bucket: TokenBucket) -> int:
    """How many single events it lets through now."""
    count = 0
    while not bucket.wait_seconds():
        bucket.take(1)
        count += 1
    return count


def test_burst_is_let_through_after_a_pause_and_the_rate_afterwards(bucket: TokenBucket, clock: FakeClock) -> None:
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


def test_batch_above_the_burst_is_waited_for_afterwards(bucket: TokenBucket, clock: FakeClock) -> None:
    assert bucket.wait_seconds() == 0
    bucket.take(100)
    assert bucket.wait_seconds() == pytest.approx((100 - BURST + 1) / RATE)


def test_larger_burst_is_filled_by_the_rate_alone(bucket: TokenBucket, clock: FakeClock) -> None:
    assert taken_at_once(bucket) == BURST
    bucket.limit(RATE, 10 * BURST)
    assert taken_at_once(bucket) == 0
    clock.advance(1)
    assert taken_at_once(bucket) == RATE


def test_smaller_burst_counts_at_once(bucket: TokenBucket) -> None:
    bucket.limit(RATE, 3)

    assert taken_at_once(bucket) == 3


class Worker:
    """With a bucket of one name."""

    def __init__(self, folder: Path, worker_index: int, clock: FakeClock) -> None:
        self.bucket = TokenBucket(RATE, BURST, clock.monotonic)
        self.sharing = SharedRateLimits(folder, worker_index, lambda: {"pbx": self.bucket})


def test_what_others_took_is_held_against_the_rate_once(tmp_path: Path, clock: FakeClock) -> None:
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


def test_what_was_taken_before_a_worker_began_is_not_held_against_it(tmp_path: Path, clock: FakeClock) -> None:
    one = Worker(tmp_path, 0, clock)
    one.bucket.take(15)
    one.sharing.share()
    other = Worker(tmp_path, 1, clock)
    other.sharing.share()

    assert taken_at_once(other.bucket) == BURST


def test_rate_that_another_worker_does_not_know_for_a_while_credits_nobody(tmp_path: Path, clock: FakeClock) -> None:
    one, other = Worker(tmp_path, 0, clock), Worker(tmp_path, 1, clock)
    for worker in (one, other):
        worker.sharing.share()
    one.bucket.take(5)
    one.sharing.share()
    other.sharing.share()
    told = (tmp_path / "0.json").read_text()
    (tmp_path / "0.json").write_text(told.replace('"pbx":5', ""))
    other.sharing.share()
    assert taken_at_once(other.bucket) == BURST - 5

    (tmp_path / "0.json").write_text(told.replace('"pbx":5', '"pbx":6'))
    other.sharing.share()
    assert other.bucket.wait_seconds() == pytest.approx(2 / RATE)


def test_file_that_is_not_readable_is_passed_over(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "7.json").write_text("{")
    (tmp_path / "8.json").write_bytes(b'{"life": "\xff", "taken": {}}')
    (tmp_path / "9.json").mkdir()
    one = Worker(tmp_path, 0, clock)
    one.sharing.share()

    assert taken_at_once(one.bucket) == BURST


def test_names_without_a_rate_cost_no_file(tmp_path: Path) -> None:
    SharedRateLimits(tmp_path, 0, dict).share()

    assert not list(tmp_path.iterdir())
