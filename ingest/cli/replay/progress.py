"""The progress of `ingest replay`, and the file of `--resume` that keeps it."""

from pathlib import Path

import msgspec

from ingest.errors import SettingsError
from ingest.files.atomic import replace_file
from ingest.store.event_query import EventFilter


class Progress(msgspec.Struct):
    """`selection` is the request of the command; `target` names the destination of the events."""

    selection: EventFilter
    last_id: int
    published: int = 0
    target: str = ""
    end: int | None = None
    """Id of the newest event at the start. Later events do not belong to this replay."""
    counted: int | None = None
    """Number of events at the start."""
    missing: list[int] = []
    """Events up to `last_id` that the broker has not confirmed."""
    source: str = ""
    """The checksum of the archive that is replayed. Empty for the table."""
    refused: dict[int, str] = {}
    """Events that the broker never takes: id → reason."""

    @property
    def left(self) -> EventFilter:
        """The events that were not tried yet."""
        selection = self.selection
        end = selection.last_id if self.end is None else min(selection.last_id, self.end)
        return msgspec.structs.replace(selection, first_id=max(selection.first_id, self.last_id + 1), last_id=end)

    @property
    def done(self) -> int:
        """Number of events that were published or permanently refused."""
        return self.published + len(self.refused)


class ProgressFile:
    """With None as its path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self, selection: EventFilter, target: str, source: str = "") -> Progress:
        """Return where to continue, or the start if there is no file. Raises `SettingsError` if it is another's."""
        if self._path is None or not self._path.exists():
            return Progress(selection, selection.first_id - 1, target=target, source=source)
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except msgspec.MsgspecError as exc:
            raise SettingsError(f"{self._path} is not a file of `ingest replay --resume`: {exc}.") from exc
        if found.selection != selection:
            raise SettingsError(f"{self._path} belongs to another selection: use another file, or delete it.")
        if found.source != source:
            raise SettingsError(f"{self._path} belongs to another archive, or to the table: use another file.")
        if found.target not in ("", target):  # an earlier version did not note it
            raise SettingsError(f"{self._path} belongs to the {found.target}, not to the {target}: use another file.")
        found.target = target
        return found

    def write(self, progress: Progress) -> None:
        if self._path:
            replace_file(self._path, msgspec.json.encode(progress))
