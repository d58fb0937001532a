"""A small disk that a test can fill."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOUNT_SECONDS = 60
PAGE_BYTES = 4096


class SmallDisk:
    """A small file system in memory; see `small_disk`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def enlarge(self, size_bytes: int) -> None:
        _run("mount", "-o", f"remount,size={size_bytes}", str(self.folder))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Fill the free space of the disk with another file, for the block."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(PAGE_BYTES))
        try:
            yield
        finally:
            ballast.unlink()


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a small disk on the folder, for the block. Needs root, and the right to mount."""
    folder.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "call-events-tests", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", str(folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=MOUNT_SECONDS)
    what = f"{' '.join(command)}: {done.stderr.strip()}"
    assert done.returncode == 0, f"{what}\nTests of full disks need root; in a container, with the right to mount."
