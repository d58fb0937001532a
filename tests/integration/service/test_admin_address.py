"""Pages and metrics on the admin address."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raw_http import Reply, ask, head
from tests.running import EVENT, ServiceProcess
from tests.services import free_port, wait_until

PAGES = ["/", "/docs", "/events", "/openapi.json", "/status.json", "/metrics"]
RETURN_SECONDS = 60.0


class Service(ServiceProcess):
    def __init__(self, folder: Path) -> None:
        self.admin_port = free_port()
        super().__init__(folder, {"ADMIN_PORT": str(self.admin_port), "WORKERS": "2"})

    def admin(self, path: str) -> Reply:
        return ask(self.admin_port, head("GET", path), to="GET")

    def pages_are_there(self) -> bool:
        try:
            return self.admin("/metrics").status == 200
        except (OSError, EOFError):
            return False

    def both_workers_are_there(self) -> bool:
        return self.pages_are_there() and b"\ningest_workers 2.0\n" in self.admin("/metrics").body


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("admin")) as running:
        assert wait_until(running.both_workers_are_there, RETURN_SECONDS)
        yield running


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_on_the_admin_address_only(service: Service, path: str) -> None:
    assert service.admin(path).status == 200
    assert service.request("GET", path)[0] == 404


def test_port_for_events_shows_only_the_status_to_a_balancer(service: Service) -> None:
    assert wait_until(lambda: service.request("GET", "/readyz")[:2] == (200, b'{"status":"ready"}'), RETURN_SECONDS)
    assert service.request("GET", "/healthz")[:2] == (200, b'{"status":"alive"}')
    assert service.admin("/readyz").json["checks"]["database"] == "ok"
    assert service.admin("/healthz").status == 200


def test_events_are_accepted_on_their_own_address_only(service: Service) -> None:
    assert service.post(EVENT)[0] == 200
    assert service.admin("/api/call-events").status == 404


def test_pages_return_after_a_worker_died(service: Service) -> None:
    assert wait_until(service.both_workers_are_there, RETURN_SECONDS)
    dead = service.worker_pids()[0]
    os.kill(dead, signal.SIGKILL)
    assert wait_until(lambda: len(pids := service.worker_pids()) == 2 and dead not in pids, RETURN_SECONDS)

    assert wait_until(service.both_workers_are_there, RETURN_SECONDS)


def test_stop_is_clean(service: Service) -> None:
    assert service.stop() == 0
    assert not service.pages_are_there()
    assert [line for line in service.log_lines() if line["logger"] == "ingest.admin"] == []


def test_port_in_use_is_reported_before_the_start(tmp_path: Path, embedded_service: ServiceProcess) -> None:
    second = ServiceProcess(tmp_path / "second", {"ADMIN_PORT": str(embedded_service.port)})

    ran = second.command("serve", check=False)

    assert ran.returncode == 1
    assert ran.stderr.startswith("ingest: INGEST_ADMIN_HOST, INGEST_ADMIN_PORT: cannot listen on 127.0.0.1:")
