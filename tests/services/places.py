"""The place of a server's programs: this machine, or the cached chroot of sid."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .sandbox import ServerFailed

# The server has its own mount namespace, so its mounts end with it, and are invisible to
# other processes. Each step uses `exec`, so that the started process is the server itself.
_ENTER = """
root=$1 folder=$2
shift 2
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$folder" "$root/mnt"
exec chroot "$root" "$@"
"""


class Place(Protocol):
    """Runs programs on a sandbox's folder, and translates paths of that folder."""

    @property
    def root(self) -> Path:
        """The folder that its programs see as /."""

    def argv(self, command: Sequence[str], folder: Path) -> list[str]:
        """Return `command` as this machine must run it; `folder` is the sandbox's folder."""

    def inside(self, path: Path, folder: Path) -> str:
        """Return the path by which programs in this place see `path`, a file in `folder`."""

    def find(self, pattern: str) -> str:
        """Return the program that matches an absolute glob. Raises ServerFailed."""


class Host:
    """Programs of this machine."""

    root = Path("/")

    def argv(self, command: Sequence[str], folder: Path) -> list[str]:
        return list(command)

    def inside(self, path: Path, folder: Path) -> str:
        return str(path)

    def find(self, pattern: str) -> str:
        return _find(self.root, pattern)


class SidChroot:
    """Programs of the chroot that tests/setup/sid-servers.sh makes. Needs root."""

    def __init__(self, root: Path) -> None:
        if os.geteuid() != 0:
            raise ServerFailed("servers in a chroot need root")
        if not root.is_dir():
            raise ServerFailed(f"{root} is not there: tests/setup/sid-servers.sh makes it (as root)")
        self.root = root

    def argv(self, command: Sequence[str], folder: Path) -> list[str]:
        enter = ["unshare", "--mount", "--propagation", "private", "--"]
        return [*enter, "sh", "-ec", _ENTER, "enter", str(self.root), str(folder), *command]

    def inside(self, path: Path, folder: Path) -> str:
        return str(Path("/mnt") / path.relative_to(folder))

    def find(self, pattern: str) -> str:
        return _find(self.root, pattern)


def cache_folder() -> Path:
    """Return $INGEST_TEST_CACHE, or a folder in the user's cache folder."""
    user_cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("INGEST_TEST_CACHE") or f"{user_cache}/call-events-tests")


def sid_root() -> Path:
    """Return the chroot's folder."""
    return cache_folder() / "sid"


def _find(root: Path, pattern: str) -> str:
    found = sorted(root.glob(pattern.lstrip("/")))
    if not found:
        raise ServerFailed(f"nothing matches {pattern} in {root}: is its package installed?")
    return "/" + str(found[-1].relative_to(root))
