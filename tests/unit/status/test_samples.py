"""Samples of the metrics, and the file with the samples of the last minutes."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingest.status.samples import HISTORY_SECONDS, LAST, LATENCIES, VALUES, History, Sample, quantile, sample_of
from ingest.telemetry.metrics import Metrics

ACCEPTED = "ingest_events_accepted_total"


def sample(time: float, accepted: float) -> Sample:
    return Sample(time, {ACCEPTED: accepted}, {}, {})


def test_every_name_is_one_of_the_catalogue() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    names = {one.name for family in registry.collect() for one in family.samples}

    assert names >= VALUES
    assert {f"{histogram}_bucket" for histogram in LATENCIES.values()} <= names


def test_values_are_summed_over_labels_and_refusals_are_kept_by_code() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.accepted.inc(5)
    metrics.published.labels("memory").inc(3)
    metrics.published.labels("relay").inc(2)
    metrics.refused.labels("malformed").inc()

    seen = sample_of(registry.collect(), 17.0)

    assert (seen.time, seen.value(ACCEPTED), seen.value("ingest_events_published_total")) == (17.0, 5, 5)
    assert (seen.refused["malformed"], seen.refused["invalid"]) == (1, 0)


def test_buckets_are_summed_over_routes() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for route in "memory", "relay":
        metrics.end_to_end_seconds.labels(route).observe_times(0.02, 1)

    buckets = sample_of(registry.collect(), 17.0).buckets["ingest_end_to_end_seconds"]

    assert (min(buckets.values()), buckets[LAST]) == (0, 2)


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 1.0), (0.75, 1.5), (0.99, 2.0), (0.25, 0.5)])
def test_quantile_is_linear_within_a_bucket_and_never_above_the_last_bound(share: float, seconds: float) -> None:
    assert quantile({1.0: 50, 2.0: 100 if share < 0.9 else 98, LAST: 100}, share) == pytest.approx(seconds)


@pytest.mark.parametrize("buckets", [{}, {1.0: 0.0, LAST: 0.0}])
def test_nothing_has_no_quantile(buckets: dict[float, float]) -> None:
    assert quantile(buckets, 0.5) is None


def test_history_is_read_in_order(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    for number in range(3):
        history.add(sample(100.0 + number, number))

    assert history.read(sample(200.0, 9)) == [sample(100.0 + number, number) for number in range(3)]


def test_history_forgets_what_is_old_or_of_an_earlier_service(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    history.add(sample(100.0, 5))
    history.add(sample(101.0 + HISTORY_SECONDS, 6))
    assert [one.value(ACCEPTED) for one in history.read(sample(102.0 + HISTORY_SECONDS, 7))] == [6]

    assert history.read(sample(102.0 + HISTORY_SECONDS, 0)) == []


@pytest.mark.parametrize(
    "content", [None, b"", b"\xc1 of another version", b"\x91\x92\xcb" + bytes(8) + b"\x81\xa1\xff\x00"]
)
def test_history_that_cannot_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "history"
    if content is not None:
        path.write_bytes(content)

    assert History(path).read(sample(1.0, 0)) == []
