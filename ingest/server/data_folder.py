"""Allows one `ingest serve` per data folder. The supervisor holds a lock there, and the lock file names it."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from ingest.clock import Monotonic
from ingest.errors import SettingsError
from ingest.files.locks import FileLock, is_flocked, is_locked, lock, openers
from ingest.settings import RUN, Settings

ENDING_SECONDS_MAX = 5.0
"""Time for killed workers of a killed supervisor to end."""
POLL_SECONDS = 0.1

LOCK = "serve.lock"


class Supervisor(msgspec.Struct, frozen=True):
    """The service that uses a data folder. The PID belongs to its host or container."""

    pid: int
    host: str
    port: int

    def __str__(self) -> str:
        elsewhere = f", host {self.host}" if self.host != socket.gethostname() else ""
        return f"PID {self.pid}, port {self.port}{elsewhere}"


def claim(settings: Settings, monotonic: Monotonic = time.monotonic) -> FileLock:
    """Return the folder's lock. Keep it while the service runs.

    Raises `SettingsError` if another service, or a worker of a killed service, still uses the folder.
    """
    folder = settings.run_dir
    give_up_at = monotonic() + ENDING_SECONDS_MAX
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while (held := _claimed(folder)) is None:
            if _supervisor_lives(folder) or monotonic() >= give_up_at:
                raise SettingsError(_refusal(settings.data_dir))
            time.sleep(POLL_SECONDS)
    except OSError as exc:
        raise SettingsError(f"INGEST_DATA_DIR: {folder} cannot be used: {exc.strerror}.") from exc
    with suppress(OSError):  # a full disk does not affect the lock
        held.describe(msgspec.json.encode(Supervisor(os.getpid(), socket.gethostname(), settings.port)))
    return held


def running(data_dir: Path) -> Supervisor | None:
    """Return the service that uses the folder now. Creates nothing. Raises `OSError`."""
    return _last_supervisor(data_dir / RUN) if is_locked(data_dir / RUN / LOCK) else None


def _claimed(folder: Path) -> FileLock | None:
    held = lock(folder / LOCK)
    if held is not None and _has_workers(folder):
        held.release()
        return None
    return held


def _has_workers(folder: Path) -> bool:
    """True if a worker holds a worker index. Its service is older than this lock, or its supervisor was killed."""
    return bool(_worker_pids(folder)) or any(is_flocked(path) for path in folder.glob("seat-*.lock"))


def _worker_pids(folder: Path) -> list[int]:
    return sorted(openers(f"{os.path.realpath(folder)}/seat-"))


def _supervisor_lives(folder: Path) -> bool:
    """True if the process that the lock file names still has that file open."""
    last = _last_supervisor(folder)
    return last is not None and last.pid in openers(os.path.realpath(folder / LOCK))


def _last_supervisor(folder: Path) -> Supervisor | None:
    """Return None if the lock file is empty or was deleted."""
    path = folder / LOCK
    try:
        return msgspec.json.decode(path.read_bytes(), type=Supervisor) if path.is_file() else None
    except (OSError, ValueError):
        return None


def _refusal(data_dir: Path) -> str:
    folder = data_dir / RUN
    refusal = f"INGEST_DATA_DIR: another `ingest serve` uses {data_dir.resolve()}"
    last, workers = _last_supervisor(folder), _worker_pids(folder)
    if last is None or (workers and not _supervisor_lives(folder) and last.host == socket.gethostname()):
        pids = ", ".join(map(str, workers)) or "not known"
        return f"{refusal}: only its workers are left (PIDs: {pids}). End them, or use another data folder."
    return f"{refusal} ({last}). Stop it, or use another data folder."
