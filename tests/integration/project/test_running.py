"""The service process of the tests leaves nothing behind."""

from pathlib import Path

import pytest

from tests.running import ServiceProcess
from tests.services import wait_until
from tests.services.processes import process_state

SECONDS = 60.0


class Hopeless(ServiceProcess):
    """Never finds its service ready."""

    found: int

    def wait_for_status(self, *statuses: str, seconds: float = 0.0) -> None:
        self.found = self.pid
        raise AssertionError("not ready")


def test_service_that_does_not_become_ready_is_killed(tmp_path: Path) -> None:
    service = Hopeless(tmp_path)

    with pytest.raises(AssertionError, match="not ready"), service:
        pass

    assert wait_until(lambda: process_state(service.found) == "", SECONDS)
