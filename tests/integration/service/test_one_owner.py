"""A data folder has one service. A second start does not affect the first service, its metrics or its files."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commands import one_line
from tests.exposition import scrape
from tests.running import EVENT, ServiceProcess
from tests.services import free_port, wait_until
from tests.services.processes import has_ended

SECONDS = 60.0
EVENTS = 3


@pytest.fixture
def first(tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path, {"WORKERS": "2"}) as running:
        for _ in range(EVENTS):
            assert running.post(EVENT)[0] == 200
        yield running


def accepted(service: ServiceProcess) -> float:
    return scrape(service).total("ingest_events_accepted_total")


def start_another(service: ServiceProcess) -> str:
    """Start a second service on the same data folder; return its error."""
    service.environment["INGEST_PORT"] = str(free_port())
    return one_line(service.command("serve", check=False))


def test_second_service_names_the_first_and_keeps_its_metrics(first: ServiceProcess) -> None:
    said = start_another(first)

    assert f"(PID {first.pid}, port {first.port})" in said
    assert accepted(first) == EVENTS


@pytest.mark.parametrize("gone", ["serve.lock", "*.lock", "."])
def test_second_service_is_refused_even_if_lock_files_were_deleted(first: ServiceProcess, gone: str) -> None:
    folder = Path(first.environment["INGEST_DATA_DIR"]) / "run"
    for path in folder.glob(gone) if gone != "." else [folder]:
        delete(path)

    assert "another `ingest serve` uses" in start_another(first)

    assert first.post(EVENT)[0] == 200


def test_service_does_not_start_beside_workers_of_a_killed_supervisor(first: ServiceProcess) -> None:
    workers = first.worker_pids()
    os.kill(first.pid, signal.SIGKILL)
    assert wait_until(lambda: has_ended(first.pid), SECONDS)

    said = start_another(first)

    assert f"only its workers are left (PIDs: {', '.join(map(str, sorted(workers)))})" in said
    assert accepted(first) == EVENTS
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: all(map(has_ended, workers)), SECONDS)
    first.environment["INGEST_PORT"] = str(first.port)
    first.kill()
    first.start()
    first.wait_for_status("ready")


def test_doctor_reports_a_running_service(first: ServiceProcess) -> None:
    ran = first.command("doctor")

    assert f"ok    service: runs here: PID {first.pid}, port {first.port}" in ran.stdout
    assert wait_until(lambda: first.stop() == 0, SECONDS)
    assert "service:" not in first.command("doctor").stdout


@pytest.mark.parametrize("gone", ["run/metrics", "run", ".", "run/metrics/0.pid", "run/metrics/0.ledger"])
def test_metrics_continue_after_their_files_were_deleted(first: ServiceProcess, gone: str) -> None:
    data_dir = Path(first.environment["INGEST_DATA_DIR"])
    for path in data_dir.iterdir() if gone == "." else [data_dir / gone]:
        delete(path)

    assert wait_until(lambda: counted(first) == (EVENTS, 2, 1), SECONDS), (counted(first), first.log())
    assert wait_until(lambda: str(data_dir / "run" / "metrics") in first.log(), SECONDS)
    first.wait_for_status("degraded")


def delete(path: Path) -> None:
    """The service may restore files meanwhile. The embedded queue is a file."""
    while path.exists():
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            return


def counted(service: ServiceProcess) -> tuple[float, ...]:
    """Return accepted events, workers, and whether the database answers."""
    found = scrape(service)
    return tuple(found.total(f"ingest_{name}") for name in ("events_accepted_total", "workers", "database_up"))
