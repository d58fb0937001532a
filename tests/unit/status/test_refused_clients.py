"""Refused requests by client address, as all workers show them."""

from pathlib import Path

import pytest

from ingest.status.refused_clients import ENTRIES_MAX, SECONDS, SHOWN_MAX, RefusedClients
from tests.unit.fakes import FakeClock

RULES = {"from_number": "The from number field is required."}


@pytest.fixture
def refused(clock: FakeClock) -> RefusedClients:
    return RefusedClients(clock.unix_seconds)


def refuse(refused: RefusedClients, address: str, code: str = "invalid", times: int = 1) -> None:
    for _ in range(times):
        if not refused.count(address, "/in/asterisk", code):
            refused.describe(address, "/in/asterisk", code, "pbx-1", RULES)


def shown(refused: RefusedClients, folder: Path, worker: int = 0) -> list[tuple[str, str, int]]:
    found = refused.of_all(folder, folder / f"{worker}.refused")
    return [(entry.address, entry.code, entry.count) for entry in found]


def test_refusals_are_counted_by_client_and_code(refused: RefusedClients, clock: FakeClock, tmp_path: Path) -> None:
    refuse(refused, "10.0.0.1", times=3)
    clock.advance(1)
    refuse(refused, "10.0.0.1", "malformed")
    clock.advance(1)
    refuse(refused, "10.0.0.2")

    assert shown(refused, tmp_path) == [
        ("10.0.0.2", "invalid", 1),
        ("10.0.0.1", "malformed", 1),
        ("10.0.0.1", "invalid", 3),
    ]
    assert refused.of_all(tmp_path, tmp_path / "0.refused")[0].fields == RULES


def test_workers_add_up(clock: FakeClock, tmp_path: Path) -> None:
    workers = [RefusedClients(clock.unix_seconds) for _ in range(3)]
    for number, worker in enumerate(workers):
        refuse(worker, "10.0.0.1", times=number + 1)
        worker.save(tmp_path / f"{number}.refused")
    (tmp_path / "9.refused").write_bytes(b"damaged")

    assert all(shown(worker, tmp_path, number) == [("10.0.0.1", "invalid", 6)] for number, worker in enumerate(workers))


def test_old_refusals_are_left_out(refused: RefusedClients, clock: FakeClock, tmp_path: Path) -> None:
    refuse(refused, "10.0.0.1")
    clock.advance(SECONDS + 1)

    assert shown(refused, tmp_path) == []


def test_many_clients_take_bounded_memory(refused: RefusedClients, clock: FakeClock, tmp_path: Path) -> None:
    for number in range(3 * ENTRIES_MAX):
        clock.advance(0.001)
        refuse(refused, f"10.0.0.{number}")
    refused.save(tmp_path / "1.refused")

    newest = 3 * ENTRIES_MAX - 1
    assert shown(refused, tmp_path, 1)[0] == (f"10.0.0.{newest}", "invalid", 1)
    assert len(shown(refused, tmp_path, 1)) == SHOWN_MAX
    assert len((tmp_path / "1.refused").read_text().split("address")) - 1 == ENTRIES_MAX
