"""Stream mode: after any kill, a call's events are in one partition, each once, in the order of their answers."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.form import Form
from tests.faults.harness.calls import Calls
from tests.faults.harness.scene import frozen, let_pass, scene, stopped
from tests.faults.report import Report
from tests.faults.streams.nodes import Nodes, stream_settings
from tests.services import MySQLServer, RabbitMQServer, wait_until

MOMENT_SECONDS = 0.7
"""Both servers freeze together, as on a slow disk. A client must wait for them, or the order is lost."""


@pytest.fixture(scope="module")
def shared_nodes(mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form) -> Iterator[Nodes]:
    settings = stream_settings(mysql, rabbitmq, form)
    with ExitStack() as stack:
        yield Nodes(*(stack.enter_context(scene(mysql, rabbitmq, settings)) for _ in range(2)))


@pytest.fixture
def nodes(shared_nodes: Nodes) -> Nodes:
    shared_nodes.wait_until_ready()
    return shared_nodes


def stop_rabbitmq(nodes: Nodes, form: Form) -> None:
    with stopped(nodes.rabbitmq):
        let_pass(form.outage_seconds)


def stop_mysql(nodes: Nodes, form: Form) -> None:
    with stopped(nodes.mysql):
        let_pass(form.freeze_seconds)


def freeze_rabbitmq(nodes: Nodes, form: Form) -> None:
    with frozen(nodes.rabbitmq):
        let_pass(form.freeze_seconds)


def freeze_mysql(nodes: Nodes, form: Form) -> None:
    with frozen(nodes.mysql):
        let_pass(form.freeze_seconds)


def freeze_both(nodes: Nodes, _: Form) -> None:
    with frozen(nodes.mysql), frozen(nodes.rabbitmq):
        let_pass(MOMENT_SECONDS)


def freeze_node(nodes: Nodes, form: Form) -> None:
    with nodes.one.frozen_service():
        let_pass(form.lease_seconds + 2)


FAULTS: dict[str, Callable[[Nodes, Form], None]] = {
    "kill -9 of a worker": lambda nodes, _: nodes.one.kill_worker(),
    "kill -9 of a node": lambda nodes, _: nodes.other.kill_service(),
    "kill -9 of RabbitMQ": lambda nodes, _: nodes.kill_rabbitmq(),
    "kill -9 of the database": lambda nodes, _: nodes.one.kill_mysql(),
    "RabbitMQ stopped": stop_rabbitmq,
    "database stopped": stop_mysql,
    "RabbitMQ frozen": freeze_rabbitmq,
    "database frozen": freeze_mysql,
    "node frozen": freeze_node,
    "both frozen for a moment": freeze_both,
}


OF_SHORT_FORM = ("kill -9 of RabbitMQ",)
FAULT_SECONDS_MAX = 1500.0
"""Ten outages of a minute each, and the time to recover after each."""


@pytest.mark.timeout(FAULT_SECONDS_MAX)
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=() if fault in OF_SHORT_FORM else pytest.mark.long) for fault in FAULTS]
)
def test_each_event_is_in_the_stream_once_and_in_the_order_of_the_answers(
    fault: str, nodes: Nodes, form: Form, report: Report
) -> None:
    with nodes.calls() as calls:
        for _ in range(form.rounds):
            nodes.wait_for_steady(calls)
            FAULTS[fault](nodes, form)
        nodes.wait_for_steady(calls)
    found = nodes.account(calls)
    report.remarks.append(f"stream, {form.rounds} times {fault}: {found}, unknown {len(calls.unknown)}")
    assert not found.faults, nodes.evidence(found)
    assert not calls.refused, "a request failed while a server was down"


def test_nothing_is_lost_or_duplicated_if_a_worker_is_killed_while_all_servers_are_down(
    nodes: Nodes, form: Form, report: Report
) -> None:
    """The workers cannot agree on an order while both servers are down."""
    with nodes.calls() as calls:
        for _ in range(form.rounds):
            nodes.wait_for_steady(calls)
            with stopped(nodes.rabbitmq):
                with stopped(nodes.mysql):
                    let_pass(1)
                    os.kill(min(nodes.one.service.worker_pids()), signal.SIGKILL)
                    let_pass(1)
                let_pass(1)
            nodes.wait_for_steady(calls)
    found = nodes.account(calls)
    report.remarks.append(f"stream, {form.rounds} times both down and a worker killed: {found}")
    assert not found.faults.keys() - {"disordered"}, nodes.evidence(found)


MANY_CALLS = 1_000_000
MANY_SECONDS = 3000.0


def wait_for_calls(calls: Calls, count: int) -> None:
    assert wait_until(lambda: len(calls.answered) >= count, MANY_SECONDS)


@pytest.mark.long
@pytest.mark.timeout(MANY_SECONDS)
def test_a_million_interleaved_calls_keep_their_order_across_a_restart_of_the_broker(
    nodes: Nodes, report: Report
) -> None:
    ports = [nodes.one.service.port, nodes.other.service.port]
    began = time.monotonic()
    with Calls(ports, callers=200, events_per_second=1_000_000, steps=2) as calls:
        for share in (1 / 3, 2 / 3):
            wait_for_calls(calls, int(share * MANY_CALLS))
            nodes.kill_rabbitmq()
        wait_for_calls(calls, MANY_CALLS)
    per_second = calls.events / (time.monotonic() - began)
    found = nodes.account(calls)
    report.remarks.append(f"stream, {len(calls.answered):,} calls at {per_second:.0f} events/s: {found}")
    assert not found.faults, nodes.evidence(found)
