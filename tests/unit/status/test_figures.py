"""The figures of `/status.json`, computed from samples."""

from ingest.status.figures import AWAY_ELSEWHERE, FAILING_ELSEWHERE, status_of
from ingest.status.health import Report
from ingest.status.samples import LAST, Buckets, Sample
from ingest.status.snapshot import Backlog, Latency, Limits, Refusal, Status, Workers

LIMITS = Limits(workers=2, spool_bytes_max=1000, queue_events_max=50)
READY = Report("ready", {"database": "ok", "broker": "ok", "ids": "ok"})


def sample(time: float, *, refused: int = 0, buckets: Buckets | None = None, **values: float) -> Sample:
    return Sample(
        time,
        {f"ingest_{name}": value for name, value in values.items()},
        {"malformed": refused},
        {"ingest_ack_seconds": buckets} if buckets else {},
    )


def status(now: Sample, *history: Sample, report: Report = READY) -> Status:
    return status_of(report, LIMITS, now, history, [])


def test_rate_is_of_the_window_and_not_of_all_time() -> None:
    history = [sample(float(time), events_accepted_total=1000.0 + time) for time in range(0, 100, 5)]

    shown = status(sample(100.0, events_accepted_total=1590.0), *history)

    assert (shown.window_seconds, shown.rates.accepted) == (10.0, 50.0)
    assert shown.totals.accepted == 1590


def test_service_that_has_just_begun_has_a_rate_since_its_first_sample() -> None:
    assert status(sample(4.0, events_accepted_total=8), sample(2.0)).rates.accepted == 4
    assert status(sample(2.0, events_accepted_total=8)).rates.accepted == 0


def test_latency_is_of_the_window() -> None:
    slow, quick = {0.1: 0.0, 1.0: 100.0, LAST: 100.0}, {0.1: 100.0, 1.0: 200.0, LAST: 200.0}

    shown = status(sample(20.0, buckets=quick), sample(5.0, buckets=slow))

    assert shown.latency_seconds == {"answer": Latency(0.05, 0.095, 0.099)}
    assert status(sample(20.0, buckets=slow), sample(5.0, buckets=slow)).latency_seconds == {}


def test_refusals_are_those_since_the_first_sample_with_their_last_time() -> None:
    shown = status(sample(15.0, refused=5), sample(0.0, refused=2), sample(5.0, refused=3), sample(10.0, refused=5))

    assert shown.refusals == [Refusal("malformed", 3, 10.0)]


def test_outage_of_another_worker_is_shown() -> None:
    shown = status(sample(1.0, database_up=1, broker_up=0))

    assert (shown.status, shown.checks["broker"], shown.checks["database"]) == ("degraded", AWAY_ELSEWHERE, "ok")


def test_own_reason_has_precedence() -> None:
    report = Report("degraded", {"database": "ok", "broker": "No route.", "ids": "ok"})

    assert status(sample(1.0, broker_up=0), report=report).checks["broker"] == "No route."


def test_points_are_rates_between_samples() -> None:
    history = [sample(0.0), sample(5.0, events_accepted_total=10, backlog_events=3)]

    (point,) = status(sample(5.1, events_accepted_total=12), *history).history

    assert (point.time, point.accepted, point.backlog, point.p99) == (5.0, 2.0, 3, None)


def test_backlog_that_no_worker_knows_is_unknown_and_not_zero() -> None:
    shown = status(sample(10.0), sample(5.0, backlog_events=3, backlog_age_seconds=1.0))

    assert shown.backlog == Backlog(None, None)
    assert [point.backlog for point in shown.history] == [None]


def test_limits_are_of_all_workers() -> None:
    shown = status(sample(1.0, workers=1, queued_events=7))

    assert (shown.workers.alive, shown.workers.wanted) == (1, 2)
    assert (shown.in_hand.queued, shown.in_hand.queued_max) == (7, 100)


def test_limits_are_those_of_the_workers_that_live() -> None:
    """A reload has one worker more for a moment, with its own limits. The metrics show the same sum."""
    shown = status(sample(1.0, queued_events_max=150, spool_bytes_max=999, workers_wanted=3))

    assert (shown.in_hand.queued_max, shown.spool.bytes_max, shown.workers.wanted) == (150, 999, 3)


def test_deaths_of_the_last_ten_minutes_are_told_apart_from_older_ones() -> None:
    history = [sample(float(time), worker_restarts_total=2) for time in range(405, 1000, 5)]

    shown = status(sample(1000.0, worker_restarts_total=3), *history)

    assert shown.workers == Workers(0, 2, restarts=3, died_lately=1)


def test_all_deaths_of_a_young_service_are_of_the_last_ten_minutes() -> None:
    shown = status(sample(60.0, worker_restarts_total=3), sample(5.0, worker_restarts_total=1))

    assert shown.workers.died_lately == 3


def test_spools_of_all_workers_are_shown_whichever_worker_answers() -> None:
    report = Report("ready", {"database": "ok", "spool": "ok"})

    def spool(events: int, set_aside: int) -> str:
        now = sample(1.0, spool_events=events, spool_set_aside_events=set_aside)
        return status(now, report=report).checks["spool"]

    assert spool(0, 0) == "ok"
    assert spool(1, 0) == "1 event waits for the database"
    assert spool(1200, 2) == ("1,200 events wait for the database; 2 events are set aside: see `ingest spool ls`")


def test_problem_of_the_own_spool_has_precedence() -> None:
    report = Report("unavailable", {"spool": "The disk is full."})

    assert status(sample(1.0, spool_events=7), report=report).checks["spool"] == "The disk is full."


def test_check_that_only_another_worker_fails_is_shown() -> None:
    now = Sample(1.0, {}, {}, {}, {"locks", "retention"})
    report = Report("ready", {"locks": "ok", "clock": "ok"})

    shown = status(now, report=report)

    assert (shown.status, shown.checks) == ("degraded", {"locks": FAILING_ELSEWHERE, "clock": "ok"})
