"""A server is stopped or frozen under load: no request fails, and no acknowledged event is lost."""

import math
import time
from collections import Counter

from ingest.telemetry.outage import SUMMARY_SECONDS
from tests.faults.form import Form
from tests.faults.harness.consumer import Consumer
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.scene import WORKERS, Scene, frozen, let_pass, stopped
from tests.faults.report import Report
from tests.services.sandbox import wait_until

RECOVERED_SECONDS = 60.0
ANSWER_SECONDS_MAX = 5.0
"""The wait behind a commit that times out, an own commit that times out (2 s each), and a reserve."""


def test_broker_outage_fails_no_request_and_its_backlog_is_gone_within_a_minute(
    here: Scene, form: Form, report: Report
) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        before = said_of_rabbitmq(here)
        with stopped(here.rabbitmq):
            let_pass(form.outage_seconds)
            backlog = len(load.ledger.ok)
        returned = time.time()
        here.wait_until_published(accepted_before_ms=int(returned * 1000))
        gone_seconds = time.time() - returned
        # One worker may empty the outbox before another one has its connection back.
        assert wait_until(lambda: recovered(said_of_rabbitmq(here) - before), RECOVERED_SECONDS)
        said = said_of_rabbitmq(here) - before
    remark = f"backlog gone {gone_seconds:.1f} s after its return"
    result = report.add(f"RabbitMQ stopped {form.outage_seconds:g} s", 1, here.account(load.ledger), remark=remark)
    assert backlog
    assert_unnoticed(result)
    assert 1 <= said.pop("RabbitMQ publish failed") <= WORKERS
    assert said.pop("RabbitMQ publish works again") <= WORKERS
    assert said.pop("RabbitMQ publish still fails", 0) <= WORKERS * math.ceil(form.outage_seconds / SUMMARY_SECONDS)
    assert not said


def recovered(said: Counter[str]) -> bool:
    return said["RabbitMQ publish works again"] >= said["RabbitMQ publish failed"]


def said_of_rabbitmq(here: Scene) -> Counter[str]:
    """Count the log messages about RabbitMQ only, as a busy machine may also log a slow commit."""
    return Counter(message for message in here.logged("ingest.outage") if message.startswith("RabbitMQ"))


def test_database_outage_fails_no_request_and_consumers_get_events_during_it(
    here: Scene, form: Form, report: Report
) -> None:
    with (
        here.load(form.database_outage_events_per_second) as load,
        Consumer(here.rabbitmq.amqp_url, here.queue) as seen,
    ):
        here.wait_for_steady(load)
        with stopped(here.mysql):
            let_pass(form.database_outage_seconds)
            taken = len(load.ledger.ok)
            seen.wait_for(taken)
        returned = time.monotonic()
        here.wait_for_steady(load)
        load.stop()
        here.wait_until_drained()
        drained_seconds = time.monotonic() - returned
        here.wait_until_published()
    remark = f"{seen.delays(load.ledger)}; all in the database {drained_seconds:.1f} s after its return"
    fault = f"database stopped {form.database_outage_seconds:g} s"
    result = report.add(fault, 1, here.account(load.ledger, seen.messages), remark=remark)
    assert_unnoticed(result)
    assert result.longest_seconds < ANSWER_SECONDS_MAX


def test_frozen_database_is_not_noticed_by_clients_and_loses_nothing(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        with frozen(here.mysql):
            let_pass(form.freeze_seconds)
        here.wait_for_steady(load)
    result = report.add(f"database frozen {form.freeze_seconds:g} s", 1, here.account(load.ledger))
    assert_unnoticed(result)
    assert result.longest_seconds < ANSWER_SECONDS_MAX


def test_frozen_broker_is_not_noticed_by_clients_and_loses_nothing(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        with frozen(here.rabbitmq):
            let_pass(form.freeze_seconds)
        here.wait_for_steady(load)
    result = report.add(f"RabbitMQ frozen {form.freeze_seconds:g} s", 1, here.account(load.ledger))
    assert_unnoticed(result)
