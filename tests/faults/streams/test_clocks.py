"""Stream mode on nodes with different clocks: each event is in the stream once, even if another node recovers it."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.form import Form
from tests.faults.harness.clock import Clock
from tests.faults.harness.scene import let_pass, scene, stopped
from tests.faults.report import Report
from tests.faults.streams.nodes import Nodes, stream_settings
from tests.services import MySQLServer, RabbitMQServer

APART_SECONDS = (-60, 60)
"""Offsets of the two nodes' clocks from the servers' clocks."""


@pytest.fixture
def nodes(mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    settings = stream_settings(mysql, rabbitmq, form)
    with ExitStack() as stack:
        made = []
        for seconds in APART_SECONDS:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="call-events-faults-")))
            with monkeypatch.context() as patch:
                for name, value in Clock(folder / "clock", seconds).environment.items():
                    patch.setenv(name, value)
                made.append(stack.enter_context(scene(mysql, rabbitmq, settings, ready="degraded")))
        yield Nodes(*made)


def test_each_event_is_in_the_stream_once_if_clocks_differ_by_two_minutes(
    nodes: Nodes, form: Form, report: Report
) -> None:
    with nodes.calls() as calls:
        for _ in range(form.rounds):
            nodes.wait_for_steady(calls)
            with stopped(nodes.rabbitmq), stopped(nodes.mysql):
                let_pass(1)
                for node in (nodes.one, nodes.other):
                    node.service.kill()
                    node.service.start()
                let_pass(1)
            nodes.wait_for_steady(calls)
    found = nodes.account(calls)
    report.remarks.append(f"stream, {form.rounds} times all killed, clocks 120 s apart: {found}")
    assert not found.faults.keys() - {"disordered"}, nodes.evidence(found)
    for node in (nodes.one, nodes.other):
        assert "the database's: set both by NTP" in node.service.request("GET", "/readyz")[1].decode()
