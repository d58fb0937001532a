"""Workers here are processes of their own: prometheus-client's files belong to a whole process."""

import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ingest.telemetry.multiprocess import MetricFiles
from tests.exposition import Exposition
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

StartWorker = Callable[[int, int], "subprocess.Popen[str]"]

WORKER = """
import signal, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from ingest.telemetry.multiprocess import MetricFiles
from ingest.telemetry.metrics import Metrics

folder, index, accepted = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
died = MetricFiles(folder).use_worker_index(index)
metrics = Metrics(CollectorRegistry())
metrics.accepted.inc(accepted)
metrics.workers.set(1)
if accepted:
    metrics.backlog_events.set(accepted)
    metrics.database_up.set(1)
print("succeeds" if died else "first", flush=True)
signal.pause()
"""


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

        def start(worker_index: int, accepted: int) -> "subprocess.Popen[str]":
            argv = [sys.executable, "-c", WORKER, str(tmp_path / "metrics"), str(worker_index), str(accepted)]
            process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process

        yield start


def scrape(files: MetricFiles) -> Exposition:
    return Exposition(files.exposition())


def first_line(process: "subprocess.Popen[str]") -> str:
    """Return the first line, which the worker prints when all its metrics exist."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()


def test_all_workers_add_up(files: MetricFiles, start_worker: StartWorker) -> None:
    for worker in [start_worker(0, 3), start_worker(1, 4)]:
        assert first_line(worker) == "first"
    found = scrape(files)
    assert found.value("ingest_events_accepted_total") == 7
    assert found.value("ingest_workers") == 2
    assert found.value("ingest_backlog_events") == 4


def test_values_are_those_of_each_worker(files: MetricFiles, start_worker: StartWorker) -> None:
    for worker in [start_worker(0, 3), start_worker(1, 4)]:
        first_line(worker)

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
    assert first_line(start_worker(0, 3)) == "first"

    found = scrape(files)

    assert found.value("ingest_background_failures_total", task="watchdog") == 2
    assert found.value("ingest_workers") == 1


def test_gauge_that_no_worker_knows_has_no_series(files: MetricFiles, start_worker: StartWorker) -> None:
    unknowing, knowing = start_worker(0, 0), start_worker(1, 4)
    assert [first_line(unknowing), first_line(knowing)] == ["first", "first"]
    assert scrape(files).value("ingest_backlog_events") == 4
    assert scrape(files).value("ingest_database_up") == 1

    kill(knowing)

    assert b"\ningest_backlog_events " not in files.exposition()
    assert b"\ningest_database_up " not in files.exposition()
    assert scrape(files).value("ingest_workers") == 1


def test_counters_of_a_killed_worker_continue_and_its_gauges_end(files: MetricFiles, start_worker: StartWorker) -> None:
    killed, other = start_worker(0, 30), start_worker(1, 4)
    assert [first_line(killed), first_line(other)] == ["first", "first"]
    kill(killed)
    meanwhile = scrape(files)
    assert meanwhile.value("ingest_events_accepted_total") == 34
    assert meanwhile.value("ingest_workers") == 1
    assert meanwhile.value("ingest_backlog_events") == 4
    assert first_line(start_worker(0, 5)) == "succeeds"
    afterwards = scrape(files)
    assert afterwards.value("ingest_events_accepted_total") == 39
    assert afterwards.value("ingest_workers") == 2
    assert afterwards.value("ingest_backlog_events") == 5


def test_zombie_worker_has_no_gauges(files: MetricFiles, start_worker: StartWorker) -> None:
    worker = start_worker(0, 3)
    first_line(worker)
    worker.kill()  # the test does not wait for its end: the process is a zombie
    assert wait_until(lambda: scrape(files).value("ingest_workers") is None, 10)
    assert process_state(worker.pid) == "Z"


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
    first_line(start_worker(0, 5))
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
    first_line(start_worker(0, 3))
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
    first_line(killed)
    kill(killed)
    damaged_file(tmp_path / "metrics", damage).replace(tmp_path / "metrics" / "counter_0.db")

    first_line(start_worker(0, 5))

    assert scrape(files).value("ingest_events_accepted_total") == 5
    assert (tmp_path / "metrics" / "counter_0.db.damaged").stat().st_size


def test_file_that_no_metric_of_the_service_has_is_left_alone(files: MetricFiles, tmp_path: Path) -> None:
    (tmp_path / "metrics" / "notes.db").write_text("anything")
    assert scrape(files).samples == {}
    assert list(files.values()) == []


def test_service_begins_at_zero(files: MetricFiles, start_worker: StartWorker) -> None:
    worker = start_worker(0, 5)
    first_line(worker)
    kill(worker)
    files.clear()
    assert scrape(files).samples == {}
    assert first_line(start_worker(0, 6)) == "first"


def test_file_that_is_created_meanwhile_is_not_taken_for_a_lost_one(files: MetricFiles, tmp_path: Path) -> None:
    command = [sys.executable, "-c", THREADED, str(tmp_path / "metrics")]

    ran = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ran.stdout == "False False\n"
