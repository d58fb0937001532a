"""Reads the processes of a sandbox from /proc."""

from pathlib import Path

# Every process of a sandbox has this variable in its environment, with the sandbox's folder.
MARK = "CALL_EVENTS_SANDBOX"


def process_state(pid: int) -> str:
    """Return the state letter, as in ps (R, S, T, Z...); "" if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    # The name stands in parentheses, and may itself contain spaces and parentheses.
    return stat.rpartition(")")[2].split()[0]


def has_ended(pid: int) -> bool:
    """Return True once a process has released its files, locks and ports; its parent may not have noticed yet."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return True
    return len(threads) == 1 and process_state(pid) in ("", "Z", "X")


def marked_with(folder: Path) -> list[int]:
    """Return the ids of a sandbox's processes and their children, even if they left its
    process group. Zombies do not count."""
    mark = f"{MARK}={folder}".encode()
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if mark in _environment(pid).split(b"\0")]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # the process has ended, or belongs to another user
        return b""
