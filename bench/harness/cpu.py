"""CPU time of processes, from /proc."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
UTIME, STIME = 11, 12
"""Indexes into the fields of /proc/PID/stat after the name: fields 14 and 15 of proc(5)."""

Components = Mapping[str, Iterable[int]]
"""Name of a component → ids of the root processes of its trees."""


def cpu_seconds(components: Components) -> dict[str, float]:
    """Return each component's user and system time so far, in ticks of 10 ms.

    Raises OSError if one of the root processes is gone, as its time is then unknown.
    """
    return {name: sum(_of_tree(pid) for pid in pids) for name, pids in components.items()}


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in before}


def _of_tree(pid: int) -> float:
    return _of_process(pid) + sum(_of_descendant(child) for child in descendants(pid))


def _of_process(pid: int) -> float:
    # The name stands in parentheses, and may itself contain blanks and parentheses.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return (int(fields[UTIME]) + int(fields[STIME])) / TICKS_PER_SECOND


def _of_descendant(pid: int) -> float:
    try:
        return _of_process(pid)
    except OSError:  # a short-lived process, gone since it was listed
        return 0.0


def descendants(pid: int) -> list[int]:
    """Return the ids of the process's children, their children and so on, for all its threads."""
    direct = [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in _read(file).split()]
    return [found for child in direct for found in (child, *descendants(child))]


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the thread is gone
        return ""
