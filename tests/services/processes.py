"""What /proc tells about the processes of a sandbox."""

from pathlib import Path

# In the environment of every process of a sandbox: the sandbox's folder.
MARK = "CALL_EVENTS_SANDBOX"


def process_state(pid: int) -> str:
    """State letter as in ps (R, S, T, Z...); "" when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    # The name, in parentheses, may itself hold spaces and parentheses.
    return stat.rpartition(")")[2].split()[0]


def marked_with(folder: Path) -> list[int]:
    """Ids of the processes started for a sandbox, and of their children, also of those
    that left its process group. Zombies, who wait only for their parent, don't count."""
    mark = f"{MARK}={folder}".encode()
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if mark in _environment(pid).split(b"\0")]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone meanwhile, or somebody else's
        return b""
