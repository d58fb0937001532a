"""Many servers: each sends few events over a mostly idle connection, and has its own name and address."""

from itertools import count
from random import uniform

import gevent
from locust import between, task

from bench.scenarios.base import TelephonyServer

NUMBERS = count(1)
PAUSE_SECONDS = (1.0, 3.0)


class QuietServer(TelephonyServer):
    """Has an address of 198.18.0.0/15, which RFC 2544 reserves for benchmarks."""

    scenario = "many_servers"
    wait_time = between(*PAUSE_SECONDS)

    def on_start(self) -> None:
        self.number = next(NUMBERS)
        gevent.sleep(uniform(0.0, PAUSE_SECONDS[1]))

    @task
    def make_call(self) -> None:
        self.call()

    def own_headers(self) -> dict[str, str]:
        address = f"198.18.{self.number // 250 % 250}.{self.number % 250 + 1}"
        return {
            "User-Agent": f"pbx-{self.number}/1.0",
            "X-Forwarded-For": address,
            "X-Forwarded-Host": f"pbx-{self.number}.example.com",
        }
