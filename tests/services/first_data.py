"""Keeps the first data of MariaDB and MySQL for later servers: making it takes up to ten times longer than a copy."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

IDENTITY = "auto.cnf"
"""MySQL's own identity. A server without this file makes a new one."""


def fill(data: Path, cache: Path, program: Path, make: Callable[[], object]) -> None:
    """Fill the empty folder `data` with the copy of this build of the program; without a copy, call `make` for it."""
    build = program.stat()
    kept = cache / f"data-{program.name}-{build.st_size}-{build.st_mtime_ns}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"data-{program.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            make()
            _keep(data, kept)
            return
    shutil.copytree(kept, data, dirs_exist_ok=True)


def _keep(data: Path, kept: Path) -> None:
    """Copy the data in one step, and remove copies of other builds."""
    draft = kept.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(data, draft, ignore=shutil.ignore_patterns(IDENTITY))
    for old in kept.parent.glob(f"{kept.name.rsplit('-', 2)[0]}-*"):
        if old not in (draft, kept):
            shutil.rmtree(old)
    draft.rename(kept)
