"""The simulated operating system: what is left of a dead process touches no file of another one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.chance import SeededChance
from tests.simulation.machine.loop import SimulatedLoop, current
from tests.simulation.machine.nodes import Node, WorkerProcess
from tests.simulation.machine.system import System


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    loop = SimulatedLoop(SeededChance(1))
    system = System(str(tmp_path), SeededChance(1), loop, lambda _: None)
    with system.installed():
        yield system
    loop.close()


def begin(system: System, folder: Path, pid: int) -> WorkerProcess:
    process = system.processes[pid] = WorkerProcess(f"worker {pid}", Node("node", folder), pid)
    current.set(process)
    return process


def test_a_file_object_of_a_dead_process_closes_no_file_of_another_one(system: System, tmp_path: Path) -> None:
    dead = begin(system, tmp_path, 1)
    unfinished = os.fdopen(os.open(tmp_path / "unfinished", os.O_WRONLY | os.O_CREAT), "wb")
    unfinished.write(b"not yet flushed")
    system.files.close_all_of(dead)

    begin(system, tmp_path, 2)
    descriptors = [os.open(tmp_path / f"file {number}", os.O_RDWR | os.O_CREAT) for number in range(3)]
    unfinished.close()
    for number, descriptor in enumerate(descriptors):
        assert os.fstat(descriptor).st_ino == (tmp_path / f"file {number}").stat().st_ino
        os.close(descriptor)

    assert (tmp_path / "unfinished").read_bytes() == b""
    system.shut_down()


def test_the_end_of_a_world_closes_the_file_objects_of_its_dead_processes(system: System, tmp_path: Path) -> None:
    dead = begin(system, tmp_path, 1)
    unfinished = os.fdopen(os.open(tmp_path / "unfinished", os.O_WRONLY | os.O_CREAT), "wb")
    system.files.close_all_of(dead)

    system.shut_down()

    assert unfinished.closed


def test_a_descriptor_that_a_file_object_has_closed_is_not_closed_again(system: System, tmp_path: Path) -> None:
    dead = begin(system, tmp_path, 1)
    with os.fdopen(os.open(tmp_path / "state", os.O_WRONLY | os.O_CREAT), "wb"):
        pass
    reused = (tmp_path / "state").open("rb")  # the same file, by a way that the world does not see
    system.files.close_all_of(dead)

    assert reused.read() == b""
    reused.close()
    system.shut_down()
