"""Steady: calls of three events, 50 to 150 ms between steps."""

from locust import task

from bench.scenarios.base import TelephonyServer


class SteadyServer(TelephonyServer):
    scenario = "steady"

    @task
    def make_call(self) -> None:
        self.call()
