"""Soak: samples of memory, and the figures computed from them."""

import os
import subprocess
import sys

import pytest

from bench.harness.memory import Sample, Watch, sample, thinned
from bench.harness.targets import BenchFailed
from bench.harness.wrk import Load
from bench.studies import soak
from bench.studies.soak import Backlog, Left, Soak
from tests.services import wait_until


def samples(*rss: float) -> list[Sample]:
    return [Sample(float(second), mib, mib / 2) for second, mib in enumerate(rss)]


def backlog(*drain: tuple[float, int]) -> Backlog:
    return Backlog(1000, 0, samples(60.0, 75.0, 70.0), 30.0, [Left(*look) for look in drain], {})


def test_memory_of_a_process_is_in_mebibytes() -> None:
    before = sample([os.getpid()])
    held = b"x" * (64 << 20)
    after = sample([os.getpid()])
    del held

    assert after.rss_mib - before.rss_mib == pytest.approx(64, abs=4)
    assert 0 < after.pss_mib <= after.rss_mib + 1


def test_largest_of_several_processes_is_sampled() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as small:
        assert sample([small.pid, os.getpid()]).rss_mib >= sample([os.getpid()]).rss_mib - 1


def test_watch_samples_from_the_beginning_and_fails_if_a_worker_is_gone() -> None:
    with Watch([os.getpid()]) as watch:
        assert wait_until(lambda: len(watch.samples) > 0, 60.0)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass

    with pytest.raises(BenchFailed, match="a worker was gone"), Watch([gone.pid]):
        pass


def test_thinned_samples_keep_the_peak_and_the_order() -> None:
    many = samples(*[50.0] * 100, 99.0, *[50.0] * 900)

    few = thinned(many, 200)

    assert len(few) <= 200
    assert max(few, key=lambda one: one.rss_mib) == many[100]
    assert few == sorted(few, key=lambda one: one.seconds)
    assert thinned(many[:3], 200) == many[:3]


def test_growth_ignores_the_first_tenth() -> None:
    steady = Soak(1000.0, 0, samples(20.0, 50.0, *[51.0] * 7, 55.0))

    assert steady.growth == pytest.approx(0.1)
    assert steady.last_mib == 55.0


def test_soak_of_a_few_samples_has_figures_too() -> None:
    assert Soak(1000.0, 0, samples(50.0, 50.0)).growth == 0.0


def test_drain_is_timed_from_its_start_to_an_empty_outbox() -> None:
    drained = backlog((0.0, 1000), (1.0, 1000), (2.0, 600), (3.0, 0))

    assert drained.drain_per_second == 500.0
    assert drained.most_mib == 75.0


@pytest.mark.parametrize(
    ("per_second", "answer_ms", "pause"), [(6400.0, 0.0, 40), (6400.0, 10.0, 30), (1_000_000.0, 10.0, 1)]
)
def test_pause_leaves_time_for_the_answer(per_second: float, answer_ms: float, pause: int) -> None:
    assert soak.pause_ms(Load(connections=256, seconds=1), per_second, answer_ms) == pause
