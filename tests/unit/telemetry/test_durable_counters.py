"""Workers here are processes of their own, killed at the worst moments: between any two writes of a pending commit."""

import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingest.errors import StoreError, StoreUnavailable
from ingest.telemetry.durable_counters import PENDING_COMMITS_MAX, DurableCounters
from ingest.telemetry.metrics import Metrics
from tests.unit.conftest import Sample

KILLING = """
import asyncio, os, signal, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from ingest.telemetry.multiprocess import MetricFiles
from ingest.telemetry.metrics import Metrics

class Table:
    def __init__(self, file):
        self.file = file

    async def count_rows(self, first_id, last_id):
        return last_id - first_id + 1 if self.file.exists() and first_id else 0

def worker(folder, last_step):
    files, table, step = MetricFiles(folder), Table(folder / "committed"), 0
    files.use_worker_index(0)
    counters = Metrics(CollectorRegistry(), files.pending_commits_file(0)).durable_counters

    def kill_at(frame, event, argument):
        nonlocal step
        if event == "line" and frame.f_code.co_filename.endswith(("durable_counters.py", "mmap_dict.py", "values.py")):
            step += 1
            if step == last_step:
                os.kill(os.getpid(), signal.SIGKILL)
        return kill_at

    sys.settrace(kill_at)
    pending = counters.begin(100, 104, 5)
    table.file.touch()
    counters.count(pending, accepted=5, stored=5)
    counters.count(None, accepted=2, repeated=2)
    sys.settrace(None)

def successor(folder):
    files = MetricFiles(folder)
    files.use_worker_index(0)
    metrics = Metrics(CollectorRegistry(), files.pending_commits_file(0))
    asyncio.run(metrics.durable_counters.recover(Table(folder / "committed").count_rows, 0.0))
    exact = metrics.accepted, metrics.stored, metrics.repeated
    counts = [int(counter.collect()[0].samples[0].value) for counter in exact]
    print(int((folder / "committed").exists()), *counts, flush=True)

def in_a_process_of_its_own(work, *arguments):
    child = os.fork()
    if not child:
        work(*arguments)
        os._exit(0)
    return os.waitpid(child, 0)[1]

for step in range(1, 1000):
    folder = Path(sys.argv[1]) / str(step)
    ended = in_a_process_of_its_own(worker, folder, step)
    in_a_process_of_its_own(successor, folder)
    if not ended:
        break
"""
"""Workers that commit five events and answer two duplicates. Each is killed one line later than the one before, until
one survives. Prints for each whether it had committed, and the counts of its successor."""


class Table:
    """Answers as the database would, one answer after the other."""

    def __init__(self, *answers: int | StoreError) -> None:
        self.answers = deque(answers)
        self.asked: list[tuple[int, int]] = []

    async def count_rows(self, first_id: int, last_id: int) -> int:
        self.asked.append((first_id, last_id))
        answer = self.answers.popleft() if self.answers else 0
        if isinstance(answer, StoreError):
            raise answer
        return answer


@pytest.fixture
def durable_counters(metrics: Metrics) -> DurableCounters:
    return metrics.durable_counters


def counts(sample: Sample) -> tuple[float, ...]:
    return tuple(sample(f"ingest_events_{name}_total") for name in ("accepted", "stored", "repeated"))


def test_events_are_counted_once_with_and_without_a_pending_commit(
    durable_counters: DurableCounters, sample: Sample
) -> None:
    durable_counters.count(durable_counters.begin(1, 3, 3), accepted=3, stored=3)
    durable_counters.count(None, accepted=2, repeated=2)
    durable_counters.cancel(durable_counters.begin(4, 9, 6))

    assert counts(sample) == (5, 3, 2)


def test_commits_beyond_the_pending_ones_are_counted(durable_counters: DurableCounters, sample: Sample) -> None:
    pending_commits = [durable_counters.begin(at, at, 1) for at in range(PENDING_COMMITS_MAX + 2)]
    for pending in pending_commits:
        durable_counters.count(pending, accepted=1, stored=1)

    assert pending_commits[-2:] == [None, None]
    assert counts(sample) == (PENDING_COMMITS_MAX + 2, PENDING_COMMITS_MAX + 2, 0)


async def test_uncounted_commit_is_asked_for_until_the_database_answers(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    killed = Metrics(CollectorRegistry(), tmp_path / "0.ledger").durable_counters
    killed.begin(100, 104, 5)
    killed.begin(200, 209, 10)
    successor, table = Metrics(registry, tmp_path / "0.ledger").durable_counters, Table(StoreUnavailable(), 10, 0)

    successor.count(successor.begin(300, 300, 1), accepted=1, stored=1)
    await successor.recover(table.count_rows, 0.0)

    assert table.asked == [(200, 209), (200, 209), (100, 104)]
    assert registry.get_sample_value("ingest_events_stored_total") == 11
    again = Table()
    await Metrics(CollectorRegistry(), tmp_path / "0.ledger").durable_counters.recover(again.count_rows, 0.0)
    assert again.asked == []


async def test_only_the_events_of_a_part_are_counted_if_the_whole_batch_was_stored(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    """The others of the batch, with ids between those of the part, went to the spool and are counted there."""
    Metrics(CollectorRegistry(), tmp_path / "0.ledger").durable_counters.begin(100, 104, 2)
    successor = Metrics(registry, tmp_path / "0.ledger").durable_counters

    await successor.recover(Table(5).count_rows, 0.0)

    assert registry.get_sample_value("ingest_events_stored_total") == 2
    assert registry.get_sample_value("ingest_events_accepted_total") == 2


def test_worker_killed_at_any_line_leaves_exact_counts(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", KILLING, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]

    assert len(found) > 50
    assert {(5 * committed, accepted - repeated) for committed, accepted, stored, repeated in found} == {(0, 0), (5, 5)}
    assert all(stored == 5 * committed for committed, _, stored, _ in found)
    assert {repeated for *_, repeated in found} == {0, 2}
    assert found[-1] == (1, 7, 5, 2)


async def test_pending_commits_outlive_the_deletion_of_their_file(tmp_path: Path) -> None:
    path, table = tmp_path / "0.ledger", Table(5)
    killed = Metrics(CollectorRegistry(), path).durable_counters
    killed.begin(100, 104, 5)
    path.unlink()

    killed.reopen()

    await Metrics(CollectorRegistry(), path).durable_counters.recover(table.count_rows, 0.0)
    assert table.asked == [(100, 104)]
