"""FILE.followed: the progress of `ingest send --follow FILE`."""

from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

import msgspec

from ingest.cli.send.follow.folder import Folder, identity_of
from ingest.cli.send.follow.mark import PART_BYTES, FileMark, digest_at
from ingest.cli.send.poster import SendFailed
from ingest.cli.send.progress import ProgressFile
from ingest.files.atomic import replace_file

SUFFIX = ".followed"
KEY_BYTES = 8
DONE_MAX = 32
"""Rotated files that are done and still recognized."""


class FollowState(msgspec.Struct):
    """The knowledge that the next run needs."""

    files: list[FileMark]
    """The files that are not done, oldest first."""
    done: list[FileMark]
    """The last rotated files that are done, so that their lines are not sent again under another name."""
    since_ns: int
    """Rotated files that were last written before this time are done, or older than the first start."""
    batch: int = 0
    """The largest number of lines in a batch that may already be posted."""
    accepted: int = 0
    rejected: int = 0


def new_key() -> str:
    return token_hex(KEY_BYTES)


def new_mark(descriptor: int) -> FileMark:
    """Return the mark of a file from which nothing is sent. Raises `OSError`."""
    mark = FileMark(new_key(), *identity_of(descriptor))
    mark.learn(descriptor)
    return mark


class StateFile:
    """`replace` writes the content durably, and in one step."""

    def __init__(self, file: Path, replace: Callable[[Path, bytes], None] = replace_file) -> None:
        self.file = file
        self._path = path_of(file)
        self._replace = replace
        self._written = b""

    def read(self) -> FollowState:
        """Return the saved state, or that of a first start. Raises `SendFailed` and `OSError`."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=FollowState)
        except FileNotFoundError:
            return self._first()
        except msgspec.MsgspecError as exc:
            raise SendFailed(f"{self._path.name} is not readable: delete it to send the file from its start.") from exc

    def write(self, state: FollowState) -> None:
        """Write the state if it has changed. Raises `SendFailed`."""
        content = msgspec.json.encode(state)
        if content == self._written:
            return
        try:
            self._replace(self._path, content)
        except OSError as exc:
            raise SendFailed(f"{self._path.name} cannot be written ({exc.strerror}).") from exc
        self._written = content

    def _first(self) -> FollowState:
        """Begin with FILE, not with its earlier rotated files. `ingest send FILE` may have sent a part of it."""
        own = self.file.resolve()
        earlier = [one for one in Folder(self.file).rotated(0) if one.path != own]
        since_ns = max((one.found.st_mtime_ns for one in earlier), default=-1) + 1
        state = FollowState([], [_read(one.path) for one in earlier[-DONE_MAX:]], since_ns)
        sent = ProgressFile(self.file)
        if sent.exists():
            progress = sent.read()
            if progress.sending or (progress.line and not progress.bytes):
                raise SendFailed(
                    "The last batch is not finished. Run `ingest send` without --follow once, then follow."
                )
            state.files = [_read(self.file, progress.bytes, progress.line)]
        return state


def _read(path: Path, offset: int | None = None, line: int = 0) -> FileMark:
    """Return the mark of a file that is done up to the offset, or to its end. Raises `OSError`."""
    with path.open("rb") as file:
        mark = new_mark(file.fileno())
        offset = mark.size if offset is None else offset
        start = max(0, offset - PART_BYTES)
        mark.advance(offset, line, digest_at(file.fileno(), start, offset - start) or "")
    return mark


def path_of(file: Path) -> Path:
    return file.with_name(file.name + SUFFIX)
