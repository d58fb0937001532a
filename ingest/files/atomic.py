"""The one writer of small state files: a reader, or a start after a crash, sees the old content or the new one."""

import os
from pathlib import Path
from tempfile import mkstemp

MODE = 0o640


def replace_file(path: Path, content: bytes, mode: int = MODE) -> None:
    """Write the file's whole content, durably, in one step. Its folder is made if it is missing. Raises `OSError`.

    Several processes may replace the same file at once: one of their contents stays, whole. For content that only
    running processes read, `replace_volatile` saves the waits for the disk.
    """
    _replace(path, content, mode, durable=True)
    sync_folder(path.parent)


def replace_volatile(path: Path, content: bytes, mode: int = MODE) -> None:
    """As `replace_file`, but not before the disk has it: after a crash of the machine the file may be empty."""
    _replace(path, content, mode, durable=False)


def _replace(path: Path, content: bytes, mode: int, *, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Names in the folder are as durable as the files' contents then. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
