"""Faults of the queue under load."""

import time

from tests.faults.form import Form
from tests.faults.harness.ledger import Message, Result, assert_unnoticed
from tests.faults.harness.scene import PUBLISHED_SECONDS, WORKERS, Scene, scene
from tests.faults.reading import backlog_of, declare_full_queue, delete_queue
from tests.faults.report import Report
from tests.services import MySQLServer, RabbitMQServer, wait_until

QUEUE_MESSAGES_MAX = 150


def test_deleted_queue_is_declared_again_and_gets_every_later_event(here: Scene, form: Form, report: Report) -> None:
    def delete_under_load() -> Result:
        with here.load() as load:
            here.wait_for_steady(load)
            delete_queue(here.rabbitmq.amqp_url, here.queue)
            deleted = time.monotonic()
            here.wait_for_steady(load)
        # The deletion removed the queue's messages, so their loss is no fault.
        return here.account(load.ledger, sent_since=deleted)

    result = report.add("queue deleted", form.deletions, *(delete_under_load() for _ in range(form.deletions)))
    assert_unnoticed(result)


def test_full_queue_delays_messages_until_a_consumer_makes_room(
    mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form, report: Report
) -> None:
    queue = rabbitmq.fresh_queue_name()
    declare_full_queue(rabbitmq.amqp_url, queue, QUEUE_MESSAGES_MAX)
    taken: list[Message] = []
    with scene(mysql, rabbitmq, {"QUEUE": queue, "LEASE_SECONDS": str(form.lease_seconds)}) as here:
        with here.load() as load:
            here.wait_for_steady(load)
            waits = wait_until(lambda: backlog_of(here.database_url) > QUEUE_MESSAGES_MAX, PUBLISHED_SECONDS)
            said = [one for one in here.logged("ingest.outage") if one.startswith("RabbitMQ")]  # a commit may be slow

        def emptied() -> bool:
            taken.extend(here.take_messages())
            return backlog_of(here.database_url) == 0

        assert wait_until(emptied, PUBLISHED_SECONDS), here.service.log()
        result = report.add("queue full", 1, here.account(load.ledger, taken))
    assert waits
    assert len(said) <= 2 * WORKERS
    assert_unnoticed(result)
