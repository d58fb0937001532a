"""prometheus-client's multiprocess files: one set for each worker index. Each scrape adds them up."""

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Metric, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ingest.files.owners import Owners
from ingest.telemetry.catalogue import background_failures
from ingest.telemetry.exposition.metric_file import NAME, DamagedFileError, DamagedFiles, Entries, read
from ingest.telemetry.metrics import UNKNOWN, UNKNOWN_LEAST

SUPERVISOR_INDEX = -1
"""Stands for a worker index in the names of the supervisor's files."""
STEADY_SECONDS = 2.0
"""The largest step of a file system's times."""
TRIES_MAX = 10
"""Attempts to restore files that others delete meanwhile."""


Value = tuple[str, str, float]
"""Kind of metric (`counter`, `histogram`, or a gauge's mode), prometheus-client's key, and value of one series."""


class MetricFiles(Collector):
    """The folder of the files, which all workers of a service share."""

    def __init__(self, folder: Path, unix_seconds: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._owners = Owners(folder)
        self._unix_seconds = unix_seconds
        self._worker_index: int | str = 0
        self._inodes: dict[str, int] = {}
        """This worker's own files by name, as last seen."""
        self._seen: tuple[int, int, int] | None = None
        """The folder as `restore` last saw it: device, inode, and time of its last change."""
        self.damaged = DamagedFiles()

    def clear(self) -> None:
        """Delete the counts of an earlier service. The supervisor calls it before it starts a worker."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    def use_worker_index(self, worker_index: int) -> int:
        """Use the files of this worker index for this process's metrics. Must be called before any metric exists.

        The counters of the index's earlier worker continue. Return how many workers have died: see `Owners.succeed`.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.glob(f"gauge_live*_{worker_index}.db"):
            file.unlink()  # gauges of the worker before
        self._put_damaged_aside(worker_index)
        died = self._owners.succeed(worker_index)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self._folder)
        self._worker_index = worker_index
        values.ValueClass = values.MultiProcessValue(lambda: self._worker_index)  # type: ignore[no-untyped-call]
        return died

    def leave(self) -> None:
        """Call this at the planned end of a worker, which is no death."""
        self._owners.leave(self._worker_index)

    def _put_damaged_aside(self, worker_index: int) -> None:
        """Rename damaged files of this index: no worker could start with them."""
        for file in self._folder.glob(f"*_{worker_index}.db"):
            try:
                read(file)
            except DamagedFileError as exc:
                self.damaged.put_aside(file, exc)

    def supervisor_failures(self) -> Counter:
        """Return the counter of background failures for the supervisor, which is this process."""
        self.use_worker_index(SUPERVISOR_INDEX)
        return background_failures(CollectorRegistry())

    def restore(self, use: Callable[[], object]) -> bool:
        """Restore this worker's files with their counts if any was deleted or moved. Return True if so.

        `use` uses a metric and all other files of the worker, which opens the restored files at once. Others may
        delete them again meanwhile. Linux's /proc has the contents. On other systems the counters start at zero again.
        Raises `OSError`.
        """
        before = self._folder_now()
        if before and before == self._seen:
            return False  # nearly always
        found = self._own_files()
        if not self._inodes:  # files may be gone since the start of the process
            opened = {name: os.fstat(descriptor).st_ino for name, descriptor in self._opened()}
            self._inodes = {self._owners.path(self._worker_index).name: 0, **found, **opened}
        gone = [name for name, inode in self._inodes.items() if found.get(name) != inode and self._inode(name) != inode]
        if not gone:  # another thread may have created a file since the listing
            self._inodes |= found
            self._seen = before
            return False
        contents = {name: _content(opened) for name, opened in self._opened() if name in self._inodes}
        contents[self._owners.path(self._worker_index).name] = str(os.getpid()).encode()
        lost = set(gone)
        for _ in range(TRIES_MAX):
            self._write({name: contents[name] for name in lost & contents.keys()})
            with suppress(FileNotFoundError):
                use()
            found = self._own_files()
            lost = contents.keys() - found.keys()
            if not lost:
                self._inodes = found
                return True
        raise OSError(errno.ESTALE, "another process deletes the metric files again and again", str(self._folder))

    def _write(self, contents: Mapping[str, bytes]) -> None:
        """Write lost files, and no others: a file that is cut while it is mapped ends the process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (self._folder / name).write_bytes(content)
        # prometheus-client reopens its files when the index changes. As str or int it names the same files.
        self._worker_index = str(self._worker_index) if isinstance(self._worker_index, int) else int(self._worker_index)

    def _folder_now(self) -> tuple[int, int, int] | None:
        """Return what identifies the folder with its files: each file that is created or deleted changes its time.

        None if there is no folder, or if it changed so lately that another change may get the same time.
        """
        with suppress(FileNotFoundError):
            found = self._folder.stat()
            if abs(self._unix_seconds() - found.st_ctime) > STEADY_SECONDS:
                return found.st_dev, found.st_ino, found.st_ctime_ns
        return None

    def _own_files(self) -> dict[str, int]:
        """Return the names of this worker's files with their inodes."""
        index, found = self._worker_index, {}
        files = [*self._folder.glob(f"*_{index}.db"), self._owners.path(index), self.pending_commits_file(index)]
        for file in files:
            with suppress(FileNotFoundError):
                found[file.name] = file.stat().st_ino
        return found

    def _inode(self, name: str) -> int | None:
        try:
            return (self._folder / name).stat().st_ino
        except FileNotFoundError:
            return None

    def _opened(self) -> Iterator[tuple[str, int]]:
        """Yield names and descriptors of this worker's open files, also of deleted ones. Only on Linux."""
        return _open_files(re.compile(rf"\w+_{self._worker_index}\.db|{self._worker_index}\.ledger"))

    def pending_commits_file(self, worker_index: int | str) -> Path:
        """The file of `ingest.telemetry.durable_counters` for this worker index."""
        return self._folder / f"{worker_index}.ledger"

    def exposition(self) -> bytes:
        """Return all workers' metrics in Prometheus's text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterable[Metric]:
        try:
            metrics = self._merged()
        except OSError:  # the next worker of an index has just removed a file
            metrics = self._merged()
        return [_without_unknown(metric) for metric in metrics]

    def values(self) -> Iterator[Value]:
        """Yield the values of all workers as they are. This takes a quarter of the time of `collect`."""
        for file, entries in self._sound():
            kind = file.name.split("_")[-2]
            for key, value in entries:
                yield kind, key, value

    def _merged(self) -> Iterable[Metric]:
        files = [str(file) for file, _ in self._sound()]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # it has no types
        return metrics

    def _sound(self) -> Iterator[tuple[Path, Entries]]:
        """Yield the files that count, with their entries. Report the damaged ones."""
        for file in self._files():
            try:
                yield file, read(file)
            except FileNotFoundError:
                continue  # the next worker of this index has just removed it
            except (DamagedFileError, OSError) as exc:
                self.damaged.ignore(file, exc)

    def _files(self) -> Sequence[Path]:
        """Return the paths of the files that count."""
        alive = cache(self._owners.alive)
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            return [Path(entry) for entry in entries if NAME.fullmatch(entry.name) and _counts(entry, alive)]
        return []


def _counts(file: "os.DirEntry[str]", alive: Callable[[str], bool]) -> bool:
    """False if the scrape must skip this file.

    It skips gauges of dead workers. It also skips empty files, which a worker has just created: they would fail the
    whole scrape (prometheus-client issue 1199).
    """
    try:
        if not file.stat().st_size:
            return False
    except FileNotFoundError:
        return False  # the next worker of this index has just removed it
    return not file.name.startswith("gauge_live") or alive(file.name.removesuffix(".db").rpartition("_")[2])


def _without_unknown(metric: Metric) -> Metric:
    """Remove a series if no worker knows its value: a 0 would mean that all is well."""
    if metric.type == "gauge":
        metric.samples = [sample for sample in metric.samples if sample.value not in (UNKNOWN, UNKNOWN_LEAST)]
    return metric


def _open_files(names: "re.Pattern[str]") -> Iterator[tuple[str, int]]:
    """Yield name and descriptor of each file that this process has open with one of the names, also of deleted ones.

    The descriptor is a new one, and is closed afterwards. Another thread may close its own at any time, and its number
    may then stand for another file.
    """
    with suppress(FileNotFoundError):
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if not names.fullmatch(_name_of(link)):
                    continue
                descriptor = os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    name = _name_of(Path(f"/proc/self/fd/{descriptor}"))
                    if names.fullmatch(name):
                        yield name, descriptor
                finally:
                    os.close(descriptor)


def _name_of(link: Path) -> str:
    return link.readlink().name.removesuffix(" (deleted)")


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
