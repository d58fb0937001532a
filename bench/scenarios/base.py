"""The base of all scenarios: a telephony server that checks every answer, and the verdict at the end.

A scenario is a locustfile, and can also run alone against any instance:

    BENCH_TOKEN=… locust -f bench/scenarios/steady.py --headless -u 40 -r 40 -t 60s --host http://localhost:8000

Its exit code is 1 if one of its budgets in `budgets.toml` is broken, 0 otherwise.
"""

import json
import os
from collections.abc import Mapping
from random import random
from typing import Any, ClassVar
from uuid import uuid4

import gevent
from locust import FastHttpUser, between, events
from locust.env import Environment

from bench.harness.events import STEPS, step
from bench.report.verdicts import broken, judge, of_parts, read_budgets, report
from bench.scenarios.figures import BROKEN, EVENT, KEPT, REFERENCE, figures, named
from ingest.http.event_handler import PATH
from ingest.settings import WELL_KNOWN_TOKEN

TOKEN = os.environ.get("BENCH_TOKEN", WELL_KNOWN_TOKEN)

HEALTH = "/healthz"
HEALTH_SHARE = 0.5
"""Share of events that a health request follows: enough for a 99th percentile after a few seconds."""

Body = str | Mapping[str, Any]


class TelephonyServer(FastHttpUser):
    """Waits for each answer, and then pauses."""

    abstract = True
    scenario: ClassVar[str]
    keeps_connection: ClassVar[bool] = True
    wait_time = between(0.05, 0.15)

    def call(self, name: str = EVENT) -> None:
        """Post the three steps of a call, which must be answered 200. Some are followed by a health request."""
        call = new_call()
        for event_type in STEPS:
            self.post(name, step(call, event_type), 200)
            if random() < HEALTH_SHARE:
                self._ask("GET", HEALTH, REFERENCE, 200)
            self.wait()  # type: ignore[no-untyped-call]  # locust gives it no types

    def post(self, name: str, body: Body, expected: int, token: str | None = TOKEN) -> None:
        """Post an event. A status other than `expected` is a failure. If `token` is None, its header is omitted."""
        headers = {"Content-Type": "application/json", **({} if token is None else {"X-API-TOKEN": token})}
        self._ask("POST", PATH, name, expected, headers, body if isinstance(body, str) else json.dumps(body))

    def own_headers(self) -> dict[str, str]:
        """Headers that distinguish this server from others."""
        return {}

    def _ask(
        self,
        method: str,
        path: str,
        name: str,
        expected: int,
        headers: Mapping[str, str] | None = None,
        data: str | None = None,
    ) -> None:
        sent = {**self.own_headers(), **(headers or {})}
        with self.client.request(method, path, name, data, catch_response=True, headers=sent) as response:
            if response.status_code == expected:
                response.success()
            else:
                response.failure(f"{response.status_code} instead of {expected}")
        if not self.keeps_connection:
            self.client.client.close()


def new_call() -> str:
    return uuid4().hex


def judge_run(environment: Environment, **_: Any) -> None:
    """Print the verdicts, and set the exit code."""
    (server,) = environment.user_classes
    assert issubclass(server, TelephonyServer), "a scenario has no other users"
    name = server.scenario
    # serialize_stats() would reset the statistics before locust writes them.
    entries = [entry.serialize() for entry in environment.stats.entries.values()]
    measured = named(name, figures(entries))
    verdicts = judge(of_parts(read_budgets(), [f"scenario.{name}"]), measured, bool(os.environ.get("BENCH_ABSOLUTE")))
    print(report(verdicts, {}))
    environment.process_exit_code = BROKEN if broken(verdicts) else KEPT


def read_the_clock(**_: Any) -> None:
    """Let gevent read the clock, as locust's timers start from the last reading: before the imports, seconds ago."""
    gevent.get_hub().loop.update_now()


events.init.add_listener(read_the_clock)  # type: ignore[no-untyped-call]  # locust gives it no types
events.quitting.add_listener(judge_run)  # type: ignore[no-untyped-call]  # locust gives it no types
