"""RabbitMQ's alarms, during which it accepts no messages."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.form import Form
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.scene import Scene, let_pass
from tests.faults.reading import backlog_of
from tests.faults.report import Report
from tests.services import RabbitMQServer
from tests.services.rabbitmq_operator import set_memory_watermark

WATERMARK, TINY = 0.4, 0.0000001
"""Shares of the memory: RabbitMQ's default, and one that every node exceeds."""


def test_memory_alarm_delays_messages_and_fails_no_request(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        with memory_alarm(here.rabbitmq):
            sent = len(load.ledger.ok)
            let_pass(form.slow_seconds)
            accepted = len(load.ledger.ok) - sent
            waiting = backlog_of(here.database_url)
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
