"""Files with the process id of each worker, by worker index. The file of a worker that ended as planned is gone."""

import os
from pathlib import Path

from ingest.files.atomic import replace_volatile


class Owners:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, worker_index: int | str) -> Path:
        return self._folder / f"{worker_index}.pid"

    def alive(self, worker_index: int | str) -> bool:
        return _is_alive(self.path(worker_index))

    def succeed(self, worker_index: int | str) -> int:
        """Become the owner of this index, whose lock the caller holds.

        Return how many workers have died since a worker last called this. Each of them is counted once, by the first
        worker that starts afterwards, whatever its index.
        """
        own = self.path(worker_index)
        died = sum(self._bury(owner, own) for owner in self._folder.glob("[0-9]*.pid"))
        replace_volatile(own, str(os.getpid()).encode())  # a file that is still empty would look like a dead worker's
        return died

    def leave(self, worker_index: int | str) -> None:
        """Note that the worker ends as planned, so that no other worker counts it as dead."""
        self.path(worker_index).unlink(missing_ok=True)

    def _bury(self, owner: Path, own: Path) -> bool:
        """Remove the file of a dead worker. Return False if the worker lives, or if another process removes the file.

        The caller holds the lock of its `own` index, so an earlier worker of that index is dead.
        """
        if owner != own and _is_alive(owner):
            return False
        claimed = owner.with_suffix(f".claimed-by-{own.stem}")
        try:
            owner.rename(claimed)  # of several processes only one succeeds
        except FileNotFoundError:
            return False
        if owner != own and _is_alive(claimed):  # a new worker has written the file meanwhile
            claimed.rename(owner)
            return False
        claimed.unlink()
        return True


def _is_alive(owner: Path) -> bool:
    """Return True if the process whose id is in the file is alive."""
    try:
        pid = int(owner.read_text())
        if _is_zombie(pid):
            return False
        os.kill(pid, 0)  # asked last: a zombie may go at any time, and would then be neither a zombie nor there
    except (OSError, ValueError):
        return False
    return True


def _is_zombie(pid: int) -> bool:
    """True if the process is dead, but its supervisor has not noticed yet. False on systems other than Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
