"""Tells the user about lines that the follower cannot find, and what to do."""

from pathlib import Path

from ingest.cli.send.follow.folder import Folder
from ingest.cli.send.follow.mark import FileMark
from ingest.cli.send.waiting import Say

NAMES_MAX = 5
"""Names of compressed files in a message."""


class Gaps:
    """Each gap is told once, and its end too."""

    def __init__(self, path: Path, folder: Folder, say: Say) -> None:
        self._path = path
        self._folder = folder
        self._say = say
        self._told: set[str] = set()

    def report(self, mark: FileMark, since_ns: int) -> None:
        if mark.key in self._told:
            return
        self._told.add(mark.key)
        self._say(f"{self._path.name}: {_loss(mark)} {self._repair(max(since_ns, mark.mtime_ns))}")

    def report_cut(self, before: int, mark: FileMark) -> None:
        """Tell about a file whose content was sent up to `before`, and is another one now."""
        self._say(
            f"{self._path.name}: the file with inode {mark.inode}, which was sent up to byte {before}, has lost "
            f"content before it. The command goes on at byte {mark.offset}: lines behind that byte may be stored twice."
        )

    def close(self, mark: FileMark) -> None:
        if mark.key in self._told:
            self._told.remove(mark.key)
            self._say(f"{self._path.name}: the missing file is there again, and is sent from byte {mark.offset} on.")

    def _repair(self, since_ns: int) -> str:
        names = [one.path.name for one in self._folder.compressed(since_ns)]
        compressed = f" Perhaps it is one of {', '.join(names[:NAMES_MAX])}." if names else ""
        return (
            f"Put this file, uncompressed, into {self._path.parent.resolve()} under any name, and the command goes on "
            f"with it.{compressed}"
        )


def _loss(mark: FileMark) -> str:
    gone = f"the file with inode {mark.inode}, which was sent up to byte {mark.offset}, is gone or was truncated."
    if mark.unsent_bytes:
        return f"{gone} At least {mark.unsent_bytes} bytes of it are not sent."
    return f"{gone} All bytes that it had at the last look are sent, but not what was written to it later."
