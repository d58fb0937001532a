"""Where a server's programs live: on this machine, or in the cached chroot of sid."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .sandbox import ServerFailed

# The mounts are made in a mount namespace of the server's own, so they end with it and
# nobody else sees them. `exec` all the way: the started process is the server itself.
_ENTER = """
root=$1 folder=$2
shift 2
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$folder" "$root/mnt"
exec chroot "$root" "$@"
"""


class Place(Protocol):
    """How to run a program on a sandbox's folder, and what it must call that folder."""

    @property
    def root(self) -> Path:
        """The folder that its programs see as /."""

    def argv(self, command: Sequence[str], folder: Path) -> list[str]:
        """`command` as this machine must run it; `folder` is the sandbox's."""

    def inside(self, path: Path, folder: Path) -> str:
        """The name by which programs there know `path`, which lies in `folder`."""

    def find(self, pattern: str) -> str:
        """The one program that matches an absolute glob; raises ServerFailed."""


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


def sid_root() -> Path:
    """The chroot's folder: $INGEST_TEST_CACHE, else the user's cache folder, + /sid."""
    user_cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = os.environ.get("INGEST_TEST_CACHE") or f"{user_cache}/call-events-tests"
    return Path(cache) / "sid"


def _find(root: Path, pattern: str) -> str:
    found = sorted(root.glob(pattern.lstrip("/")))
    if not found:
        raise ServerFailed(f"nothing matches {pattern} in {root}: is its package installed?")
    return "/" + str(found[-1].relative_to(root))
