"""How far a replay came, and the file of `--resume` that keeps it."""

from pathlib import Path

import msgspec

from ingest.errors import SettingsError
from ingest.files.atomic import replace_file
from ingest.store.event_query import EventFilter


class Progress(msgspec.Struct):
    """`selection` is as it was asked for, `target` where the events go."""

    selection: EventFilter
    last_id: int
    published: int = 0
    target: str = ""
    end: int | None = None
    """The newest event's id as it began: what comes later is not of this replay."""
    counted: int | None = None
    """How many events there were in all."""
    missing: list[int] = []
    """Of the events up to `last_id`, those that the broker has not confirmed."""
    refused: dict[int, str] = {}
    """Those that it never takes, and why."""

    @property
    def left(self) -> EventFilter:
        """What was not tried yet."""
        selection = self.selection
        end = selection.last_id if self.end is None else min(selection.last_id, self.end)
        return msgspec.structs.replace(selection, first_id=max(selection.first_id, self.last_id + 1), last_id=end)

    @property
    def done(self) -> int:
        """Events published, or refused for ever."""
        return self.published + len(self.refused)


class ProgressFile:
    """None as its path: nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self, selection: EventFilter, target: str) -> Progress:
        """Where to go on; the beginning, without a file. Raises `SettingsError` if it is another replay's."""
        if self._path is None or not self._path.exists():
            return Progress(selection, selection.first_id - 1, target=target)
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except msgspec.MsgspecError as exc:
            raise SettingsError(f"{self._path} is no file of `ingest replay --resume`: {exc}.") from exc
        if found.selection != selection:
            raise SettingsError(f"{self._path} belongs to another selection: give it a file of its own, or delete it.")
        if found.target not in ("", target):  # an earlier version did not note it
            raise SettingsError(
                f"{self._path} belongs to the {found.target}, and not to the {target}: give it a file of its own."
            )
        found.target = target
        return found

    def write(self, progress: Progress) -> None:
        if self._path:
            replace_file(self._path, msgspec.json.encode(progress))
