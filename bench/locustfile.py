"""Locust's steady call mix: each user makes calls of three steps, and errs now and then.

    BENCH_TOKEN=… locust -f bench/locustfile.py --headless -u 40 -r 40 -t 60s --host http://localhost:8000

The exit code is 1 if a budget of `budgets.toml` is broken, 0 otherwise.
"""

import os
from typing import Any
from uuid import uuid4

from locust import FastHttpUser, between, events, task
from locust.env import Environment

from bench.events import STEPS, step
from bench.scenario import BROKEN, EVENT, KEPT, figures
from bench.verdicts import broken, judge, of_parts, read_budgets, report
from ingest.endpoint import PATH
from ingest.settings import WELL_KNOWN_TOKEN

TOKEN = os.environ.get("BENCH_TOKEN", WELL_KNOWN_TOKEN)


class TelephonyServer(FastHttpUser):
    wait_time = between(0.05, 0.15)

    @task(18)
    def call(self) -> None:
        call = uuid4().hex
        for event_type in STEPS:
            self._post(EVENT, step(call, event_type), 200)
            self.wait()  # type: ignore[no-untyped-call]  # locust gives it no types

    @task(1)
    def invalid(self) -> None:
        self._post("invalid event", {**step(uuid4().hex, "call_ended"), "duration": -1}, 422)

    @task(1)
    def wrong_token(self) -> None:
        self._post("wrong token", step(uuid4().hex, "call_started"), 401, token="not-" + TOKEN)

    def _post(self, name: str, event: dict[str, Any], expected: int, token: str = TOKEN) -> None:
        headers = {"X-API-TOKEN": token}
        with self.client.post(PATH, json=event, headers=headers, name=name, catch_response=True) as response:
            if response.status_code == expected:
                response.success()
            else:
                response.failure(f"{response.status_code} instead of {expected}")


def judge_run(environment: Environment, **_: Any) -> None:
    """Print the verdicts and set the exit code by them."""
    budgets = of_parts(read_budgets(), ["scenario"])
    # Not serialize_stats(), which empties the statistics that locust has still to write.
    entries = [entry.serialize() for entry in environment.stats.entries.values()]
    verdicts = judge(budgets, figures(entries), bool(os.environ.get("BENCH_ABSOLUTE")))
    print(report(verdicts))
    environment.process_exit_code = BROKEN if broken(verdicts) else KEPT


events.quitting.add_listener(judge_run)  # type: ignore[no-untyped-call]  # locust gives it no types
