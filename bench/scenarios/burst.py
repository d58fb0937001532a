"""Burst: a tenth of the users, then all users for a third of the time, then a tenth again.

The last third must be as fast as the first: the queue of the burst must not outlive it.
"""

from typing import Any

from locust import LoadTestShape, task

from bench.scenarios.base import TelephonyServer
from bench.scenarios.figures import AFTER, BEFORE, BURST

TENFOLD = 10
PHASES = (BEFORE, BURST, AFTER)
RUN_SECONDS = 60
"""The default of locust's -t."""


class BurstShape(LoadTestShape):
    """Takes the users of the burst from locust's -u, and the total time from -t."""

    use_common_options = True

    def phase(self) -> str | None:
        """Return the name of the current requests; None after the end."""
        share = self.get_run_time() / (self._options().run_time or RUN_SECONDS)  # type: ignore[no-untyped-call]  # locust gives it no types
        return PHASES[int(share * len(PHASES))] if share < 1 else None

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users, and how many may start or stop in a second."""
        phase, burst = self.phase(), int(self._options().num_users)
        if phase is None:
            return None
        return (burst if phase == BURST else max(burst // TENFOLD, 1)), float(burst)

    def _options(self) -> Any:
        assert self.runner is not None, "locust has not set the runner"
        return self.runner.environment.parsed_options


class BurstingServer(TelephonyServer):
    scenario = "burst"

    @task
    def make_call(self) -> None:
        shape = self.environment.shape_class
        assert isinstance(shape, BurstShape)
        self.call(shape.phase() or AFTER)
