"""The files that workers have open, by descriptor."""

import os
from collections.abc import ItemsView, ValuesView
from contextlib import suppress
from typing import IO, Any

import msgspec

from tests.simulation.machine.nodes import WorkerProcess

Inode = tuple[int, int]


class OpenFile(msgspec.Struct):
    """A file that a worker has open. It had this path then. `file` is the object that closes it, if there is one."""

    process: WorkerProcess
    inode: Inode
    path: str
    file: IO[Any] | None = None


class Descriptors:
    """A file object closes its descriptor when it is collected, also that of a dead process. It keeps the number."""

    def __init__(self) -> None:
        self._files: dict[int, OpenFile] = {}
        self._nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._left: list[IO[Any]] = []
        """File objects of dead processes."""
        self._close = os.close

    def get(self, descriptor: Any) -> OpenFile | None:
        return self._files.get(descriptor)

    def items(self) -> ItemsView[int, OpenFile]:
        return self._files.items()

    def values(self) -> ValuesView[OpenFile]:
        return self._files.values()

    def opened(self, process: WorkerProcess, descriptor: int, path: str) -> OpenFile:
        found = os.fstat(descriptor)
        self._files[descriptor] = opened = OpenFile(process, (found.st_dev, found.st_ino), path)
        return opened

    def close(self, descriptor: int) -> None:
        self._files.pop(descriptor, None)
        self._close(descriptor)

    def close_all_of(self, process: WorkerProcess) -> None:
        """Do what the kernel does when a process ends. Locks end with their files."""
        for descriptor, opened in [*self._files.items()]:
            if opened.process is not process:
                continue
            del self._files[descriptor]
            if opened.file is None:
                if _is_open(descriptor, opened.inode):
                    self._close(descriptor)
            elif not opened.file.closed:
                os.dup2(self._nowhere, descriptor, inheritable=False)
                self._left.append(opened.file)

    def shut_down(self) -> None:
        """Close what dead processes have left."""
        for file in self._left:
            with suppress(OSError):
                file.close()
        self._close(self._nowhere)


def _is_open(descriptor: int, inode: Inode) -> bool:
    """False if the descriptor was closed unseen, and the number may have another file."""
    with suppress(OSError):
        found = os.fstat(descriptor)
        return (found.st_dev, found.st_ino) == inode
    return False
