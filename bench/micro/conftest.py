"""`beside(name, case, reference)`: rounds of a case and of its reference in turn, and their ratio."""

import time
from collections.abc import Callable
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

Work = Callable[[], object]
Beside = Callable[[str, Work, Work], None]

ROUNDS, WARMUP_ROUNDS = 300, 20
TIMER = time.thread_time
"""CPU time: what else the machine does is not counted."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=TIMER, disable_gc=True))


@pytest.fixture
def beside(benchmark: BenchmarkFixture) -> Beside:
    """Leaves the ratio in the benchmark's extra_info: the median over pairs of neighbours in time.

    The machine's clock may change between rounds, but hardly within a pair.
    """

    def measure(name: str, case: Work, reference: Work) -> None:
        references: list[float] = []

        def time_reference() -> None:
            started = TIMER()
            reference()
            references.append(TIMER() - started)

        benchmark.name = name
        run: Callable[..., object] = benchmark.pedantic  # pytest-benchmark gives it no types
        run(case, setup=time_reference, rounds=ROUNDS, warmup_rounds=WARMUP_ROUNDS)
        assert benchmark.stats is not None, "the benchmark has run"
        cases: list[float] = benchmark.stats.stats.data
        pairs = zip(cases, references[-len(cases) :], strict=True)
        benchmark.extra_info["ratio"] = median(case / reference for case, reference in pairs)
        benchmark.extra_info["reference_seconds"] = median(references)

    return measure
