"""Stored events by type, and the durations of calls."""

import pytest

from ingest.events.event import decode
from ingest.telemetry.labels import EVENT_TYPES
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.traffic.stored import DURATIONS_MAX, OTHER, TYPES_MAX
from tests.unit.conftest import Sample
from tests.unit.making import body, event


def of_type(event_type: str, sample: Sample) -> float:
    return sample("ingest_events_by_type_total", event_type=event_type)


def test_events_are_counted_by_type_when_the_counts_are_shown(metrics: Metrics, sample: Sample) -> None:
    metrics.count_stored([event(event_type="call_started"), event(event_type="call_ended"), event(event_type="own")])
    metrics.count_stored([event(event_type="call_started")])
    assert of_type("call_started", sample) == 0

    for _ in range(2):
        metrics.show_callers(0)

    assert [of_type(one, sample) for one in ("call_started", "call_ended", "own", OTHER)] == [2, 1, 1, 0]


def test_types_beyond_the_limit_share_a_series_and_the_usual_ones_keep_theirs(metrics: Metrics, sample: Sample) -> None:
    invented = [f"type-{number}" for number in range(TYPES_MAX + 3)]
    metrics.count_stored([event(event_type=one) for one in [*invented, *EVENT_TYPES, invented[0]]])
    metrics.show_callers(0)

    assert of_type(invented[0], sample) == 2
    assert of_type(OTHER, sample) == 3
    assert {of_type(one, sample) for one in EVENT_TYPES} == {1}


@pytest.mark.parametrize(
    ("changes", "bucket"),
    [
        ({"duration": 0}, "0.0"),
        ({"duration": 5}, "5.0"),
        ({"duration": 6}, "15.0"),
        ({"duration": "7201"}, "+Inf"),
        ({"duration": 3, "nested": {"duration": 9000}}, "5.0"),
    ],
)
def test_duration_of_an_ended_call_is_in_its_bucket(
    metrics: Metrics, sample: Sample, changes: dict[str, object], bucket: str
) -> None:
    ended = decode(body(event_type="call_ended", **changes))
    metrics.count_stored([ended, ended, event(event_type="call_started")])
    metrics.show_callers(0)

    name = "ingest_call_duration_seconds"
    assert sample(f"{name}_count") == 2
    assert sample(f"{name}_sum") == 2 * float(str(changes["duration"]))
    bounds = ["0.0", "5.0", "15.0", "30.0", "60.0", "7200.0", "+Inf"]
    filled = [bound for bound in bounds if sample(f"{name}_bucket", le=bound)]
    assert filled[0] == bucket


def test_event_without_a_duration_has_none(metrics: Metrics, sample: Sample) -> None:
    """Such an event comes from an older version's spool only."""
    metrics.count_stored([event(event_type="call_ended")])
    metrics.show_callers(0)

    assert sample("ingest_call_duration_seconds_count") == 0
    assert of_type("call_ended", sample) == 1


def test_events_of_sources_are_counted_by_form_and_all_others_as_the_apis(metrics: Metrics, sample: Sample) -> None:
    metrics.callers.begin(["twilio"])
    metrics.callers.of_sources["twilio"] += 2
    metrics.show_callers(5)
    metrics.callers.of_sources["twilio"] += 1
    metrics.show_callers(7)
    metrics.show_callers(7)

    assert sample("ingest_events_by_client_total", client="twilio") == 3
    assert sample("ingest_events_by_client_total", client="api") == 4


def test_flood_gives_a_sample_of_durations(metrics: Metrics, sample: Sample) -> None:
    ended = decode(body(event_type="call_ended", duration=60))
    for _ in range(3):
        metrics.count_stored([ended] * (DURATIONS_MAX - 1))
    metrics.show_callers(0)
    assert sample("ingest_call_duration_seconds_count") == DURATIONS_MAX
    assert of_type("call_ended", sample) == 3 * (DURATIONS_MAX - 1)

    metrics.count_stored([ended])
    metrics.show_callers(0)
    assert sample("ingest_call_duration_seconds_count") == DURATIONS_MAX + 1
