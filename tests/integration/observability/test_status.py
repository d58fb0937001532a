"""`/status.json` of a service with two workers has the same figures from both."""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import jsonschema
import pytest

from ingest.http.openapi import document
from tests.commands import PASSWORD, nowhere
from tests.raw_http import ask, head
from tests.running import EVENT, TOKEN, ServiceProcess
from tests.services import wait_until

EVENTS = 20
SEEN_SECONDS = 60.0
ASKED = 12
"""Requests after which both workers have answered, with one exception in 2000 runs."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    settings = {"WORKERS": "2", "BROKER_URL": nowhere("amqp", "%2F"), "API_TOKENS": TOKEN}
    with ServiceProcess(tmp_path_factory.mktemp("status"), settings) as running:
        for _ in range(EVENTS):
            assert running.post(EVENT)[0] == 200
        assert running.post(b"{")[0] == 400
        yield running


def status(service: ServiceProcess) -> dict[str, Any]:
    found: dict[str, Any] = ask(service.port, head("GET", "/status.json"), to="GET").json
    return found


def test_each_worker_shows_the_counts_of_all(service: ServiceProcess) -> None:
    assert wait_until(lambda: all(status(service)["totals"]["accepted"] == EVENTS for _ in range(ASKED)), SEEN_SECONDS)
    assert wait_until(lambda: {status(service)["workers"]["alive"] for _ in range(ASKED)} == {2}, SEEN_SECONDS)


def test_answer_is_as_described(service: ServiceProcess) -> None:
    described = document()
    schema = described["paths"]["/status.json"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]

    jsonschema.validate(status(service), {**schema, "components": described["components"]})


def test_both_workers_show_refusals_and_warnings_without_secrets(service: ServiceProcess) -> None:
    def told() -> bool:
        seen = [status(service) for _ in range(ASKED)]
        return all(
            [one["code"] for one in state["refusals"]] == ["malformed"]
            and {worker for error in state["errors"] for worker in error["workers"]} == {0, 1}
            for state in seen
        )

    assert wait_until(told, SEEN_SECONDS)
    assert PASSWORD not in str(status(service))


def test_absent_broker_is_shown_with_the_backlog(service: ServiceProcess) -> None:
    def is_shown() -> bool:
        state = status(service)
        checks = state["checks"]
        shown = (state["backlog"]["events"], state["status"], checks["database"], checks["broker"] != "ok")
        return shown == (EVENTS, "degraded", "ok", True)

    assert wait_until(is_shown, SEEN_SECONDS), status(service)


def test_history_goes_on_after_each_worker_was_killed(service: ServiceProcess) -> None:
    for pid in service.worker_pids():
        os.kill(pid, signal.SIGKILL)
        assert wait_until(partial(is_replaced, service, pid), SEEN_SECONDS)
        assert wait_until(lambda: all_there(service, EVENTS), SEEN_SECONDS)
    killed_at = time.time()

    assert wait_until(lambda: status(service)["history"][-1]["time"] > killed_at, SEEN_SECONDS)


def is_replaced(service: ServiceProcess, pid: int) -> bool:
    pids = service.worker_pids()
    return len(pids) == 2 and pid not in pids


def all_there(service: ServiceProcess, events: int) -> bool:
    try:
        state = status(service)
    except (OSError, EOFError):
        return False  # the killed worker had the connection
    return bool(state["workers"]["alive"] == 2 and state["totals"]["accepted"] == events)
