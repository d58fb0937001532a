"""The verdict of `ingest check`."""

import pytest

from ingest.cli.check.verdict import CPU_SHARE_MAX, Budgets, Measured, judge, quantile

PROMPT = [0.001] * 10


def measured(
    latencies: list[float], lags: list[float] | None = None, failed: int = 0, unsent: int = 0, cpu_share: float = 0.1
) -> Measured:
    return Measured(latencies, lags or [0.0] * len(latencies), {"answered 503": failed}, unsent, cpu_share)


@pytest.mark.parametrize(
    ("found", "budgets", "outcome"),
    [
        (measured(PROMPT), Budgets(), "met"),
        (measured(PROMPT), Budgets(p50=1, p99=1), "met"),
        (measured([0.001] * 99 + [9.0]), Budgets(p50=1, p99=1), "met"),
        (measured([0.001] * 98 + [9.0] * 2), Budgets(p50=1, p99=1), "missed"),
        (measured([0.001] * 98 + [9.0] * 2), Budgets(p50=1), "met"),
        (measured(PROMPT, failed=2), Budgets(errors_max=2), "met"),
        (measured(PROMPT, failed=2), Budgets(errors_max=1), "missed"),
        (measured(PROMPT, failed=1, unsent=1), Budgets(errors_max=1), "missed"),
        (measured([]), Budgets(p99=1), "missed"),
        (measured([2.0] * 10), Budgets(p99=0), "missed"),
    ],
)
def test_budgets_decide(found: Measured, budgets: Budgets, outcome: str) -> None:
    assert judge(found, budgets).outcome == outcome


def test_delays_of_the_generator_are_not_blamed_on_the_service() -> None:
    late = measured([0.101] * 10, lags=[0.1] * 10)

    verdict = judge(late, Budgets(p99=50))

    assert verdict.outcome == "not measured"
    assert verdict.reasons[0] == "p99 is 101 ms, but 1 ms without the generator's own delays."
    assert verdict.reasons[-1].startswith("The generator could not keep up: it sent events late.")


def test_service_that_is_too_slow_by_itself_is_blamed_beside_a_late_generator() -> None:
    assert judge(measured([0.2] * 10, lags=[0.1] * 10), Budgets(p99=50)).outcome == "missed"
    assert judge(measured([0.101] * 10, lags=[0.1] * 10, failed=1), Budgets(p99=50)).outcome == "missed"


def test_generator_without_cpu_can_prove_no_miss_but_a_success() -> None:
    busy = CPU_SHARE_MAX + 0.05

    missed = judge(measured([0.2] * 10, cpu_share=busy), Budgets(p99=50))

    assert missed.outcome == "not measured"
    assert "used 95% of a core" in missed.reasons[-1]
    assert judge(measured([0.01] * 10, cpu_share=busy), Budgets(p99=50)).outcome == "met"


def test_quantile_is_a_measured_value() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert (quantile([7.0], 0.5), quantile([], 0.5)) == (7.0, 0.0)
