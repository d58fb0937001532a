"""Writes small state files atomically: a reader, also after a crash, finds the old content or the new one.

The files are 0600, as `mkstemp` makes them.
"""

import os
from pathlib import Path
from tempfile import mkstemp


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file's content durably and in one step. Create its folder if necessary. Raises `OSError`.

    Several processes may replace the same file at once: the content of one of them stays. For content that only running
    processes read, `replace_volatile` does not wait for the disk.
    """
    _replace(path, content, durable=True)
    sync_folder(path.parent)


def replace_volatile(path: Path, content: bytes) -> None:
    """Like `replace_file`, but without waiting for the disk: after a crash of the machine the file may be empty."""
    _replace(path, content, durable=False)


def _replace(path: Path, content: bytes, *, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in the folder durable. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
