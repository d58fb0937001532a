"""Samples of the metrics, and the file with the samples of the last minutes."""

from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import mmap_key

from ingest.server.app import runtime_metrics
from ingest.settings import Settings
from ingest.status.samples import HISTORY_SECONDS, LAST, LATENCIES, VALUES, History, Sample, quantile, sample_of
from ingest.telemetry.metrics import UNKNOWN, UNKNOWN_LEAST, Metrics
from ingest.telemetry.multiprocess import Value

ACCEPTED = "ingest_events_accepted_total"


def sample(time: float, accepted: float) -> Sample:
    return Sample(time, {ACCEPTED: accepted}, {}, {})


def test_every_name_is_one_of_the_catalogue() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    runtime_metrics(Settings(), registry)
    names = {one.name for family in registry.collect() for one in family.samples}

    assert names >= VALUES
    assert {f"{histogram}_bucket" for histogram in LATENCIES.values()} <= names


def series(kind: str, value: float, name: str, **labels: str) -> Value:
    family = name.removesuffix("_bucket")
    return kind, mmap_key(family, name, list(labels), list(labels.values()), "help"), value


def test_values_are_summed_over_labels_and_workers_and_refusals_are_kept_by_code() -> None:
    published = "ingest_events_published_total"
    found = [series("counter", 3, published, route="memory"), series("counter", 2, published, route="relay")]
    refused = [series("counter", count, "ingest_requests_refused_total", code="malformed") for count in (1, 4)]

    seen = sample_of([*found, *found, *refused], 17.0)

    assert (seen.time, seen.value(published), seen.value("ingest_requests_refused_total")) == (17.0, 10, 5)
    assert seen.refused == {"malformed": 5}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("livesum", "ingest_workers", 3), ("livemax", "ingest_backlog_events", 2), ("livemin", "ingest_database_up", 1)],
)
def test_gauges_of_the_workers_become_one_by_their_mode(kind: str, name: str, value: float) -> None:
    for numbers in (1, 2), (2, 1):
        assert sample_of([series(kind, number, name) for number in numbers], 17.0).known(name) == value


def test_gauge_that_a_worker_does_not_know_is_left_out() -> None:
    unknown, known = (series("livemax", value, "ingest_backlog_events") for value in (UNKNOWN, 4.0))

    assert sample_of([unknown], 17.0).known("ingest_backlog_events") is None
    assert sample_of([unknown, known, unknown], 17.0).known("ingest_backlog_events") == 4


@pytest.mark.parametrize("values", [(UNKNOWN_LEAST, 4.0), (4.0, UNKNOWN_LEAST)])
def test_gauge_of_the_least_value_leaves_out_a_worker_that_does_not_know_it(values: tuple[float, float]) -> None:
    found = [series("livemin", value, "ingest_database_up") for value in values]

    assert sample_of(found, 17.0).known("ingest_database_up") == 4


def test_checks_that_any_worker_fails_are_known_by_name() -> None:
    values = {"locks": (0, 1), "clock": (0, 0), "tables": (1, 0)}
    found = [series("livemax", value, "ingest_check_failing", check=name) for name in values for value in values[name]]

    assert sample_of(found, 17.0).failing == {"locks", "tables"}


def test_buckets_are_summed_over_routes_and_count_all_smaller_ones() -> None:
    name = "ingest_end_to_end_seconds_bucket"
    counts = {"0.01": 0.0, "0.1": 1.0, "+Inf": 1.0}
    found = [series("histogram", count, name, route=route, le=le) for route in "mr" for le, count in counts.items()]

    assert sample_of(found, 17.0).buckets == {"ingest_end_to_end_seconds": {0.01: 0.0, 0.1: 2.0, LAST: 4.0}}


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


def test_next_writer_continues_the_history(tmp_path: Path) -> None:
    one, other = History(tmp_path / "history"), History(tmp_path / "history")
    for number, history in enumerate([one, one, other, other]):
        history.add(sample(100.0 + number, number))

    assert [seen.time for seen in one.read(sample(200.0, 9))] == [100.0, 101.0, 102.0, 103.0]


def test_deleted_history_is_written_anew(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    history.add(sample(100.0, 5))
    (tmp_path / "history").unlink()
    history.add(sample(101.0, 6))

    assert [seen.time for seen in history.read(sample(200.0, 9))] == [100.0, 101.0]


def test_history_that_is_kept_forgets_what_is_old_or_of_an_earlier_service(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = History(path)
    for seen in sample(100.0, 5), sample(101.0, 6), sample(100.5 + HISTORY_SECONDS, 7):
        history.add(seen)
    assert msgspec.msgpack.decode(path.read_bytes(), type=list[Sample])[0].time == 101.0

    history.add(sample(102.0 + HISTORY_SECONDS, 0))

    assert len(msgspec.msgpack.decode(path.read_bytes(), type=list[Sample])) == 1


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
