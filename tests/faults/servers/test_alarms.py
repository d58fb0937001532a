"""RabbitMQ's alarms, during which it accepts no messages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.exposition import scrape
from tests.faults.form import Form
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.scene import Scene, let_pass
from tests.faults.reading import backlog_of, spooled
from tests.faults.report import Report
from tests.services import RabbitMQServer, wait_until
from tests.services.rabbitmq_operator import set_memory_watermark

SECONDS = 60.0
WATERMARK, TINY = 0.4, 0.0000001
"""Shares of the memory: RabbitMQ's default, and one that every node exceeds."""


def test_memory_alarm_delays_messages_and_fails_no_request(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        with memory_alarm(here.rabbitmq):
            assert wait_until(lambda: scrape(here.service).value("ingest_broker_blocked") == 1, SECONDS)
            sent = len(load.ledger.ok)
            let_pass(form.slow_seconds)
            assert wait_until(lambda: len(load.ledger.ok) > sent, SECONDS)
            accepted = len(load.ledger.ok) - sent
            # A commit that takes long on a busy machine has its events in the spool.
            spool = spooled(Path(here.service.environment["INGEST_DATA_DIR"]))
            waiting = spool + backlog_of(here.database_url)
        here.wait_for_steady(load)
    fault = f"RabbitMQ's memory alarm {form.slow_seconds:g} s"
    result = report.add(fault, 1, here.account(load.ledger), remark=f"{waiting} events waited at its end")
    assert waiting >= accepted > 0
    assert_unnoticed(result)


@contextmanager
def memory_alarm(rabbitmq: RabbitMQServer) -> Iterator[None]:
    """RabbitMQ reads nothing from publishing connections during the block."""
    set_memory_watermark(rabbitmq, TINY)
    try:
        yield
    finally:
        set_memory_watermark(rabbitmq, WATERMARK)
