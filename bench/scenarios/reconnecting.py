"""Reconnecting clients: a new connection for each request, as from scripts that call curl for each event."""

from locust import task

from bench.scenarios.base import TelephonyServer


class ReconnectingServer(TelephonyServer):
    scenario = "reconnecting"
    keeps_connection = False

    @task
    def make_call(self) -> None:
        self.call()
