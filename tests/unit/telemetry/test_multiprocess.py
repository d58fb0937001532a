"""Workers here are processes of their own: prometheus-client's files belong to a whole process."""

import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from ingest.telemetry.multiprocess import MetricFiles
from tests.commands.forked import Process, start_module
from tests.exposition import Exposition
from tests.paths import ROOT
from tests.services import wait_until
from tests.services.processes import process_state

SUPERVISOR = """
import shutil, sys, time
from pathlib import Path
from ingest.telemetry.multiprocess import MetricFiles

folder = Path(sys.argv[1])
files = MetricFiles(folder, lambda: time.time() + (60 if sys.argv[3] == "seen long ago" else 0))
failures = files.supervisor_failures().labels("watchdog")
failures.inc()
use = lambda: failures.inc(0)
if sys.argv[3] != "never seen":
    files.restore(use)
    assert not files.restore(use)
for file in folder.iterdir():
    file.unlink()
left = int(sys.argv[2])

def deleted_meanwhile():
    global left
    if left:
        left -= 1
        shutil.rmtree(folder)
    failures.inc(0)

print(files.restore(deleted_meanwhile), files.restore(use), flush=True)
failures.inc()
"""

WORKER = "tests.unit.telemetry.metrics_worker"
STOP_SECONDS = 60.0

THREADED = """
import sys
from pathlib import Path
from prometheus_client import CollectorRegistry, Gauge
from ingest.telemetry.multiprocess import MetricFiles

class Files(MetricFiles):
    def _own_files(self):
        found = super()._own_files()
        # Another thread creates the first metric of its kind, and so a file.
        Gauge("late", "A metric.", registry=CollectorRegistry(), multiprocess_mode="max").set(1)
        return found

files = Files(Path(sys.argv[1]))
failures = files.supervisor_failures()
print(files.restore(lambda: None), files.restore(lambda: None), flush=True)
"""

READ_MEANWHILE = """
import os, sys, threading
from pathlib import Path
from ingest.telemetry.multiprocess import SUPERVISOR_INDEX, MetricFiles

folder = Path(sys.argv[1])
MetricFiles(folder).supervisor_failures().labels("watchdog").inc()
reading = True

def read():
    while reading:
        for path in [folder / f"counter_{SUPERVISOR_INDEX}.db", os.devnull] * 10:
            with open(path, "rb"):
                pass

reader = threading.Thread(target=read, daemon=True)
reader.start()
restored = 0
for _ in range(2000):
    files = MetricFiles(folder)
    files.use_worker_index(SUPERVISOR_INDEX)
    restored += files.restore(lambda: None)
reading = False
reader.join()
print(restored)
"""


class Worker(NamedTuple):
    """A process, and the first line that it prints when all its metrics exist."""

    process: Process
    lines: IO[str]

    def first_line(self) -> str:
        return self.lines.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_SECONDS)


StartWorker = Callable[[int, int], Worker]


@pytest.fixture
def files(tmp_path: Path) -> MetricFiles:
    files = MetricFiles(tmp_path / "metrics")
    files.clear()
    return files


@pytest.fixture
def start_worker(files: MetricFiles, tmp_path: Path) -> Iterator[StartWorker]:
    """`start_worker(worker_index, accepted)`: a worker with these events, all in its backlog, until the test ends.

    With 0 it does not know its backlog.
    """
    with ExitStack() as stack:

        def start(worker_index: int, accepted: int) -> Worker:
            words = [str(tmp_path / "metrics"), str(worker_index), str(accepted)]
            reading, writing = os.pipe()
            lines = stack.enter_context(os.fdopen(reading))
            with os.fdopen(writing, "wb") as out, Path(os.devnull).open("r+b") as nothing:
                process = start_module(WORKER, words, os.environ, [nothing, out, nothing], ROOT)
            worker = Worker(process, lines)
            stack.callback(worker.kill)
            return worker

        yield start


def scrape(files: MetricFiles) -> Exposition:
    return Exposition(files.exposition())


def test_all_workers_add_up(files: MetricFiles, start_worker: StartWorker) -> None:
    for worker in [start_worker(0, 3), start_worker(1, 4)]:
        assert worker.first_line() == "first"
    found = scrape(files)
    assert found.value("ingest_events_accepted_total") == 7
    assert found.value("ingest_workers") == 2
    assert found.value("ingest_backlog_events") == 4


def test_values_are_those_of_each_worker(files: MetricFiles, start_worker: StartWorker) -> None:
    for worker in [start_worker(0, 3), start_worker(1, 4)]:
        worker.first_line()

    found = list(files.values())

    assert {kind for kind, _, _ in found} == {"counter", "histogram", "livesum", "livemax", "livemin"}
    assert sorted(value for _, key, value in found if '"ingest_events_accepted_total"' in key) == [3.0, 4.0]


@pytest.mark.parametrize("seen", ["seen", "seen long ago", "never seen"])
@pytest.mark.parametrize("deletions", [0, 1, 3], ids=["", "deleted while restored", "deleted again and again"])
def test_failures_of_the_supervisor_are_counted_beside_the_workers(
    files: MetricFiles, start_worker: StartWorker, tmp_path: Path, deletions: int, seen: str
) -> None:
    argv = [sys.executable, "-c", SUPERVISOR, str(tmp_path / "metrics"), str(deletions), seen]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "True False\n"
    assert start_worker(0, 3).first_line() == "first"

    found = scrape(files)

    assert found.value("ingest_background_failures_total", task="watchdog") == 2
    assert found.value("ingest_workers") == 1


def test_files_that_a_thread_opens_and_closes_meanwhile_are_not_taken_for_lost_ones(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", READ_MEANWHILE, str(tmp_path / "metrics")]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "0\n"


def test_gauge_that_no_worker_knows_has_no_series(files: MetricFiles, start_worker: StartWorker) -> None:
    unknowing, knowing = start_worker(0, 0), start_worker(1, 4)
    assert [unknowing.first_line(), knowing.first_line()] == ["first", "first"]
    assert scrape(files).value("ingest_backlog_events") == 4
    assert scrape(files).value("ingest_database_up") == 1

    knowing.kill()

    assert b"\ningest_backlog_events " not in files.exposition()
    assert b"\ningest_database_up " not in files.exposition()
    assert scrape(files).value("ingest_workers") == 1


def test_counters_of_a_killed_worker_continue_and_its_gauges_end(files: MetricFiles, start_worker: StartWorker) -> None:
    killed, other = start_worker(0, 30), start_worker(1, 4)
    assert [killed.first_line(), other.first_line()] == ["first", "first"]
    killed.kill()
    meanwhile = scrape(files)
    assert meanwhile.value("ingest_events_accepted_total") == 34
    assert meanwhile.value("ingest_workers") == 1
    assert meanwhile.value("ingest_backlog_events") == 4
    assert start_worker(0, 5).first_line() == "succeeds"
    afterwards = scrape(files)
    assert afterwards.value("ingest_events_accepted_total") == 39
    assert afterwards.value("ingest_workers") == 2
    assert afterwards.value("ingest_backlog_events") == 5


def test_zombie_worker_has_no_gauges(files: MetricFiles, start_worker: StartWorker) -> None:
    worker = start_worker(0, 3)
    worker.first_line()
    worker.process.kill()  # the test does not wait for its end: the process is a zombie
    assert wait_until(lambda: scrape(files).value("ingest_workers") is None, STOP_SECONDS)
    assert process_state(worker.process.pid) == "Z"


@pytest.mark.parametrize("content", [b"", bytes(65_536)], ids=["empty", "zeros"])
@pytest.mark.parametrize("name", ["counter_1.db", "histogram_1.db", "gauge_livesum_1.db"])
def test_file_without_content_is_skipped(files: MetricFiles, tmp_path: Path, name: str, content: bytes) -> None:
    """A worker that is killed while it creates a file leaves such a file (prometheus-client issue 1199)."""
    (tmp_path / "metrics" / name).write_bytes(content)
    (tmp_path / "metrics" / "1.pid").write_text("1")
    assert scrape(files).samples == {}


def test_empty_file_of_a_killed_worker_is_used_by_its_successor(
    files: MetricFiles, tmp_path: Path, start_worker: StartWorker
) -> None:
    (tmp_path / "metrics" / "counter_0.db").touch()
    start_worker(0, 5).first_line()
    assert scrape(files).value("ingest_events_accepted_total") == 5


def damaged_file(folder: Path, damage: str) -> Path:
    """Damage a sound file of counters, which has the values of a worker with the index 1."""
    file = folder / "counter_1.db"
    sound = (folder / "counter_0.db").read_bytes()
    (used,) = struct.unpack_from("i", sound)
    contents = {
        "cut": sound[: used - 100],
        "cut to three bytes": sound[:3],
        "garbage": random.Random(1).randbytes(65_536),
        "garbage keys": sound[:12] + b"x" * 20 + sound[32:],
        "a key that is no object": sound.replace(b"{}", b"[]"),
        "a negative size of a key": sound[:8] + struct.pack("i", -28) + sound[12:],
        "a huge size": struct.pack("i", 2**31 - 1) + sound[4:],
        "a negative size": struct.pack("i", -8) + sound[4:],
    }
    file.write_bytes(contents[damage])
    return file


DAMAGES = [
    "cut",
    "cut to three bytes",
    "garbage",
    "garbage keys",
    "a key that is no object",
    "a negative size of a key",
    "a huge size",
    "a negative size",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_left_out_told_once_and_counted_once(
    files: MetricFiles, start_worker: StartWorker, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    start_worker(0, 3).first_line()
    damaged_file(tmp_path / "metrics", damage)
    counted: list[float] = []
    other_workers = MetricFiles(tmp_path / "metrics")
    for one in (files, other_workers):
        one.damaged.count_with(counted.append)

    for one in (files, files, other_workers):
        assert scrape(one).value("ingest_events_accepted_total") == 3
        accepted = [value for _, key, value in one.values() if '"ingest_events_accepted_total"' in key]
        assert accepted == [3.0]

    assert sum(counted) == 1
    assert [record.getMessage() for record in caplog.records] == ["a metric file is damaged; /metrics leaves it out"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_worker_starts_with_a_damaged_file_of_the_worker_before(
    files: MetricFiles, start_worker: StartWorker, tmp_path: Path, damage: str
) -> None:
    killed = start_worker(0, 3)
    killed.first_line()
    killed.kill()
    damaged_file(tmp_path / "metrics", damage).replace(tmp_path / "metrics" / "counter_0.db")

    start_worker(0, 5).first_line()

    assert scrape(files).value("ingest_events_accepted_total") == 5
    assert (tmp_path / "metrics" / "counter_0.db.damaged").stat().st_size


def test_file_that_no_metric_of_the_service_has_is_left_alone(files: MetricFiles, tmp_path: Path) -> None:
    (tmp_path / "metrics" / "notes.db").write_text("anything")
    assert scrape(files).samples == {}
    assert list(files.values()) == []


def test_service_begins_at_zero(files: MetricFiles, start_worker: StartWorker) -> None:
    worker = start_worker(0, 5)
    worker.first_line()
    worker.kill()
    files.clear()
    assert scrape(files).samples == {}
    assert start_worker(0, 6).first_line() == "first"


def test_file_that_is_created_meanwhile_is_not_taken_for_a_lost_one(files: MetricFiles, tmp_path: Path) -> None:
    command = [sys.executable, "-c", THREADED, str(tmp_path / "metrics")]

    ran = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ran.stdout == "False False\n"
