"""Many observations at once have the same result as one by one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from ingest.telemetry.histogram import BatchHistogram

BOUNDS = (0.25, 1.0, 2.5)
MOMENTS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.5, 3.0, 9.0]), max_size=30)


def samples(histogram: Any) -> dict[tuple[str, str], float]:
    (family,) = histogram.collect()
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def made(kind: type[Histogram]) -> Any:
    return kind("seconds", "Any.", buckets=BOUNDS, registry=CollectorRegistry())


@given(ages=MOMENTS)
def test_moments(ages: list[float]) -> None:
    plain, batched = made(Histogram), made(BatchHistogram)
    for age in ages:
        plain.observe(age)

    batched.observe_since(100.0, sorted(100.0 - age for age in ages))

    assert samples(batched) == samples(plain)


@given(amount=st.sampled_from([0.0, 0.25, 0.26, 1.0, 2.5, 9.0]), times=st.integers(0, 5))
def test_times(amount: float, times: int) -> None:
    plain, batched = made(Histogram), made(BatchHistogram)
    for _ in range(times):
        plain.observe(amount)

    batched.observe_times(amount, times)

    assert samples(batched) == samples(plain)


def test_with_labels() -> None:
    histogram = BatchHistogram("seconds", "Any.", ["route"], buckets=BOUNDS, registry=CollectorRegistry())

    histogram.labels("relay").observe_times(0.5, 3)

    assert samples(histogram.labels("relay")) == samples(histogram)
    assert samples(histogram)[("seconds_count", "")] == 3


def test_negative_amount_does_not_reduce_the_sum() -> None:
    histogram = made(BatchHistogram)
    histogram.observe_times(0.5, 2)
    histogram.observe_times(-60.0, 3)
    found = samples(histogram)
    assert found["seconds_sum", ""] == 1.0
    assert found["seconds_bucket", "0.25"] == 3.0
