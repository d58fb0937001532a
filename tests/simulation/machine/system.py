"""The operating system of the simulated world: clocks, process ids, open files and the faults of disks.

It takes the place of functions of `os` and `time` while a world runs, so that the service's code runs unchanged. Each
call acts for the process whose callback is running. Files are real, in a folder of the world, on a disk in memory.
"""

import errno
import io
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from ingest.files.evidence import BOOT_ID
from tests.simulation.chance import Chance
from tests.simulation.machine.descriptors import Descriptors, OpenFile
from tests.simulation.machine.loop import Killed, SimulatedLoop, current
from tests.simulation.machine.nodes import BOOT_US, DiskState, Entry, Node, WorkerProcess
from tests.simulation.machine.segments import SegmentFiles

REAL_OPEN, REAL_PWRITE, REAL_SCANDIR = os.open, os.pwrite, os.scandir
REAL_STATVFS, REAL_UNLINK, REAL_TRUNCATE = os.statvfs, os.unlink, os.ftruncate
REAL_REPLACE, REAL_RENAME, REAL_IO_OPEN = os.replace, os.rename, io.open

DYING_PROBABILITY = 0.5
"""A process that is to die in a system call does so in the call with this probability, else in a later one."""


class System:
    """`root` is the folder of the world. Paths outside of it are not touched."""

    def __init__(self, root: str, chance: Chance, loop: SimulatedLoop, kill: Callable[[WorkerProcess], None]) -> None:
        self._root = root
        self._chance = chance
        self._loop = loop
        self._kill = kill
        self.files = Descriptors()
        self.segments = SegmentFiles(chance)
        self.processes: dict[int, WorkerProcess] = {}
        self.doomed: set[int] = set()
        """Process ids that die in one of their next system calls."""
        self.faults = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        replaced: list[tuple[Any, str, Any]] = [(tempfile, "_name_sequence", tempfile._name_sequence)]  # type: ignore[attr-defined]
        tempfile._name_sequence = map(str, count())  # type: ignore[attr-defined]
        for module, names in ((os, OS_CALLS), (time, TIME_CALLS), (io, ("open",))):
            for name in names:
                replaced.append((module, name, getattr(module, name)))
                setattr(module, name, self.io_open if module is io else getattr(self, name))
        try:
            yield
        finally:
            for module, name, real in replaced:
                setattr(module, name, real)

    def shut_down(self) -> None:
        self.files.shut_down()
        self.segments.close()

    # time

    def monotonic(self) -> float:
        return self._loop.time()

    def time(self) -> float:
        return self.time_ns() / 1e9

    def time_ns(self) -> int:
        return self.us_of(getattr(current.get(), "node", None)) * 1000

    def us_of(self, node: Node | None) -> int:
        """Unix microseconds of this node's wall clock, or by the true time."""
        us = BOOT_US + int(self._loop.time() * 1e6)
        if node:
            us += node.clock_ahead_us
            us -= us % node.clock_grain_us
        return us

    def clock_gettime_ns(self, _clock: int) -> int:
        """The time since the node's boot, which is the only one that the service asks for."""
        node: Node | None = getattr(current.get(), "node", None)
        return int((self._loop.time() - (node.booted_at if node else 0.0)) * 1e9)

    # processes

    def getpid(self) -> int:
        return getattr(current.get(), "pid", 1)

    def kill(self, pid: int, number: int) -> None:
        if number != 0:
            raise PermissionError(errno.EPERM, "only signal 0 is simulated", signal.Signals(number).name)
        if pid not in self.processes:
            raise ProcessLookupError(errno.ESRCH, "no such process")

    def scandir(self, path: Any = ".") -> Any:
        text = path if isinstance(path, str) else ""
        if text == "/proc":
            return [Entry(str(pid), f"/proc/{pid}") for pid in self.processes]
        if text.startswith("/proc/"):
            pid = int(text.split("/")[2])
            return [
                Entry(str(fd), f"/proc/self/fd/{fd}") for fd, opened in self.files.items() if opened.process.pid == pid
            ]
        return REAL_SCANDIR(path)

    # files

    def io_open(self, path: Any, *arguments: Any, **options: Any) -> Any:
        process = self._process()
        if process and path == BOOT_ID:
            return io.StringIO(f"{process.node.name}, boot {process.node.boots}")
        file = REAL_IO_OPEN(path, *arguments, **options)
        if opened := self.files.get(path):  # from a descriptor
            opened.file = file
        return file

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        process = self._process()
        descriptor = REAL_OPEN(path, flags, mode, dir_fd=dir_fd)
        if process and (text := os.fspath(path)).startswith(self._root):
            opened = self.files.opened(process, descriptor, text)
            if text.endswith(".log"):
                self.segments.opened(process.node, opened.inode, text, descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._process()
        self.files.close(descriptor)

    def pwrite(self, descriptor: int, content: Any, offset: int) -> int:
        opened, node = self._opened(descriptor)
        if opened is None or node is None:
            return REAL_PWRITE(descriptor, content, offset)
        if node.disk_full and offset + len(content) > os.fstat(descriptor).st_size:
            self.faults += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), opened.path)
        self._may_fail(node, opened)
        if self._dies(opened.process):
            part = content[: self._chance.pick("written before the death", len(content))]
            self.segments.written(opened.inode, descriptor, part, offset)
            REAL_PWRITE(descriptor, part, offset)
            self._die(opened.process)
        self.segments.written(opened.inode, descriptor, content, offset)
        if len(content) > 1 and self._chance.happens("short write", 0.005):
            content = content[: 1 + self._chance.pick("short write of", len(content) - 1)]
        return REAL_PWRITE(descriptor, content, offset)

    def fdatasync(self, descriptor: int) -> None:
        opened, node = self._opened(descriptor)
        if opened is None or node is None:
            return  # nothing here is on a disk
        self._may_fail(node, opened)
        self.segments.synced(opened.inode, lies=node.syncs_lie)
        if self._dies(opened.process):
            self._die(opened.process)

    fsync = fdatasync

    def ftruncate(self, descriptor: int, length: int) -> None:
        opened, node = self._opened(descriptor)
        if opened and node:
            self._may_fail(node, opened)
            self.segments.truncated(opened.inode, length)
        REAL_TRUNCATE(descriptor, length)

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        process = self._process()
        if process and os.fspath(path).startswith(self._root):
            if self._dies(process):
                self._die(process)
            self.segments.unlinked(os.fspath(path))
        REAL_UNLINK(path, dir_fd=dir_fd)

    def replace(self, source: Any, target: Any, **options: Any) -> None:
        self._renaming()
        REAL_REPLACE(source, target, **options)
        self.segments.renamed(os.fspath(source), os.fspath(target))

    def rename(self, source: Any, target: Any, **options: Any) -> None:
        self._renaming()
        REAL_RENAME(source, target, **options)
        self.segments.renamed(os.fspath(source), os.fspath(target))

    def statvfs(self, path: Any) -> Any:
        found = REAL_STATVFS(path)
        process = self._process()
        return DiskState(f_flag=found.f_flag, f_bavail=0 if process and process.node.disk_full else 1 << 40, f_frsize=1)

    def _process(self) -> WorkerProcess | None:
        """The worker that runs now. Raises `Killed` if it is dead."""
        process = current.get(None)
        if not isinstance(process, WorkerProcess):
            return None
        if not process.alive:
            raise Killed
        return process

    def _opened(self, descriptor: int) -> tuple[OpenFile | None, Node | None]:
        process, opened = self._process(), self.files.get(descriptor)
        return opened, process.node if process else None

    def _renaming(self) -> None:
        process = self._process()
        if process and self._dies(process):
            self._die(process)

    def _may_fail(self, node: Node, opened: OpenFile) -> None:
        if node.disk_fails and self._chance.happens("disk error", node.disk_fails):
            self.faults += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO), opened.path)

    def _dies(self, process: WorkerProcess) -> bool:
        return process.pid in self.doomed and self._chance.happens("dies in this call", DYING_PROBABILITY)

    def _die(self, process: WorkerProcess) -> None:
        self.doomed.discard(process.pid)
        self._kill(process)
        raise Killed


FILE_CALLS = ("open", "close", "pwrite", "fdatasync", "fsync", "ftruncate", "unlink", "replace", "rename", "statvfs")
OS_CALLS = (*FILE_CALLS, "scandir", "getpid", "kill")
TIME_CALLS = ("monotonic", "time", "time_ns", "clock_gettime_ns")
