"""Nodes of a stream with different settings, or with lost bindings: no event misses the stream's consumers."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pika
import pytest

from tests.contract.broker.publishers import SuperStream, channel_to
from tests.faults.form import Form
from tests.faults.harness.scene import scene
from tests.faults.report import Report
from tests.faults.streams.nodes import PARTITIONS, Nodes, stream_settings
from tests.services import MySQLServer, RabbitMQServer, wait_until

BOUND_SECONDS = 60.0
"""Publishers check the bindings every ten seconds."""


@pytest.fixture
def settings(mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form) -> Mapping[str, str]:
    return stream_settings(mysql, rabbitmq, form)


@contextmanager
def two(mysql: MySQLServer, rabbitmq: RabbitMQServer, settings: Mapping[str, str], **of_other: str) -> Iterator[Nodes]:
    with ExitStack() as stack:
        one = stack.enter_context(scene(mysql, rabbitmq, settings))
        ready = "degraded" if of_other else "ready"
        yield Nodes(one, stack.enter_context(scene(mysql, rabbitmq, {**settings, **of_other}, ready)))


@pytest.mark.parametrize(
    "of_other",
    [{"PUBLISH_TO": "queue"}, pytest.param({"STREAM_PARTITIONS": str(PARTITIONS + 1)}, marks=pytest.mark.long)],
)
def test_events_of_a_node_with_other_settings_are_in_the_shared_stream_once(
    mysql: MySQLServer,
    rabbitmq: RabbitMQServer,
    settings: Mapping[str, str],
    of_other: Mapping[str, str],
    form: Form,
    report: Report,
) -> None:
    with two(mysql, rabbitmq, settings, **of_other) as nodes:
        with nodes.calls() as calls:
            for _ in range(form.rounds):
                nodes.wait_for_steady(calls)
                nodes.one.kill_worker()
            nodes.wait_for_steady(calls)
        found = nodes.account(calls)
        report.remarks.append(f"stream, and a node with {dict(of_other)}: {found}, refused {calls.refused}")
        assert not found.faults.keys() - {"disordered"}, nodes.evidence(found)
        assert not calls.refused
    for name in (settings["QUEUE"], f"{settings['QUEUE']}-{PARTITIONS}"):
        with (
            channel_to(rabbitmq.amqp_url) as channel,
            pytest.raises(pika.exceptions.ChannelClosedByBroker, match="404"),
        ):
            channel.queue_declare(name, passive=True)


def test_partitions_with_lost_bindings_are_bound_again_under_load(
    mysql: MySQLServer, rabbitmq: RabbitMQServer, settings: Mapping[str, str], form: Form, report: Report
) -> None:
    super_stream = SuperStream(rabbitmq, PARTITIONS)
    super_stream.name = settings["QUEUE"]
    whole = {f"{super_stream.name}-{number}": str(number) for number in range(PARTITIONS)}
    with two(mysql, rabbitmq, settings) as nodes:
        with nodes.calls() as calls:
            for _ in range(form.deletions):
                nodes.wait_for_steady(calls)
                with channel_to(rabbitmq.amqp_url) as channel:
                    channel.exchange_delete(super_stream.name)
                assert wait_until(lambda: super_stream.bindings() == whole, BOUND_SECONDS)
            nodes.wait_for_steady(calls)
        found = nodes.account(calls)
        report.remarks.append(f"stream, {form.deletions} times its exchange deleted: {found}")
        assert not found.faults, nodes.evidence(found)
        assert not calls.refused
