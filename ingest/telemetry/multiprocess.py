"""prometheus-client's multiprocess files: one set a worker's seat, added up at each scrape."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ingest.telemetry.metrics import UNKNOWN


class MetricFiles(Collector):
    """The folder of the files, shared by all workers of a service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker_index: int | str = 0
        self._inodes: dict[str, int] = {}
        """Of this worker's own files, by their names, as last seen."""

    def clear(self) -> None:
        """Forget the counts of an earlier service; for its start, before any worker."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    def use_worker_index(self, worker_index: int) -> bool:
        """Let this process's metrics live in the seat's files; before any metric is made.

        True if another worker of this service had the seat: it is dead, and its counters go on.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        owner = self._folder / f"{worker_index}.pid"
        succeeds = owner.exists()
        for file in self._folder.glob(f"gauge_live*_{worker_index}.db"):
            file.unlink()  # levels of the worker before
        owner.write_text(str(os.getpid()))
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self._folder)
        self._worker_index = worker_index
        values.ValueClass = values.MultiProcessValue(lambda: self._worker_index)  # type: ignore[no-untyped-call]
        return succeeds

    def restore(self) -> bool:
        """Make this worker's files anew, with what it has counted, if somebody deleted or moved them; True if so.

        Raises `OSError`. Linux's /proc has the contents; elsewhere the counters begin at zero again.
        """
        found = {path.name: path.stat().st_ino for path in self._folder.glob(f"*_{self._worker_index}.db")}
        if self._inodes.items() <= found.items():
            self._inodes = found
            return False
        contents = list(_open_files(self._inodes))
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents:
            (self._folder / name).write_bytes(content)
        (self._folder / f"{self._worker_index}.pid").write_text(str(os.getpid()))
        # prometheus-client opens its files anew when the process seems to be another one. Their names stay the same.
        self._worker_index = str(self._worker_index) if isinstance(self._worker_index, int) else int(self._worker_index)
        self._inodes = {}
        return True

    def pending_commits_file(self, worker_index: int) -> Path:
        """Where the seat's workers keep their notes (`ingest.telemetry.durable_counters`)."""
        return self._folder / f"{worker_index}.ledger"

    def exposition(self) -> bytes:
        """All workers' metrics in Prometheus's text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in self._folder.glob("*.db") if self._counts(file)]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # it has no types
        return [_without_unknown(metric) for metric in metrics]

    def _counts(self, file: Path) -> bool:
        """Whether a file has something to say at this moment.

        An empty one has not, and would fail the whole scrape (prometheus-client issue 1199): a worker is
        making it right now, or was killed while it did. Neither has a level of a worker that is dead.
        """
        try:
            if not file.stat().st_size:
                return False
        except FileNotFoundError:
            return False  # a worker that takes this seat has just removed it
        return not file.name.startswith("gauge_live") or self._alive(file.stem.rpartition("_")[2])

    def _alive(self, worker_index: str) -> bool:
        try:
            pid = int((self._folder / f"{worker_index}.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return False
        return not _is_zombie(pid)


def _without_unknown(metric: Metric) -> Metric:
    """No series where no worker knows the value: a 0 would say that all is well."""
    if metric.type == "gauge":
        metric.samples = [sample for sample in metric.samples if sample.value != UNKNOWN]
    return metric


def _open_files(names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of this process's open files of these names, also of deleted ones."""
    with suppress(FileNotFoundError):
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                name = link.readlink().name.removesuffix(" (deleted)")
                if name in names:
                    yield name, link.read_bytes()


def _is_zombie(pid: int) -> bool:
    """Whether it is dead, and only its supervisor has not noticed yet. Of Linux's /proc; False elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
