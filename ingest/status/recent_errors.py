"""Each worker's last warnings and errors from the log, in a file that all workers read."""

import logging
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ingest.files.atomic import replace_volatile
from ingest.status.snapshot import Error
from ingest.telemetry.logs import mask_text

ERRORS_MAX = 20
TEXT_MAX = 300
"""Characters."""
SAME_SECONDS = 60.0
"""Workers notice the same outage within this time. So it is one error, and not one for each worker."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Error]).decode


class RecentErrors(logging.Handler):
    """This worker's last errors, masked as in the log. They continue the file of the index's earlier worker."""

    def __init__(self, folder: Path, worker_index: int) -> None:
        super().__init__(logging.WARNING)
        self._folder = folder
        self._path = folder / f"{worker_index}.errors"
        self._worker_index = worker_index
        self._last = deque(_read(self._path), ERRORS_MAX)
        self._changed = False

    def emit(self, record: logging.LogRecord) -> None:
        text = mask_text(_text(record))[:TEXT_MAX]
        self._last.append(
            Error(round(record.created, 3), record.levelname.lower(), record.name, text, self._worker_index)
        )
        self._changed = True

    def save(self) -> None:
        """Write the file for the other workers, if there is a new error."""
        if self._changed:
            self._changed = False
            replace_volatile(self._path, _encode(list(self._last)))

    def of_all(self) -> list[Error]:
        """Return the errors of all workers, the newest first, and each once."""
        others = (_read(path) for path in self._folder.glob("*.errors") if path != self._path)
        every = [*self._last, *(error for errors in others for error in errors)]
        return _merged(sorted(every, key=lambda error: error.time)[::-1])[:ERRORS_MAX]


def _merged(errors: Iterable[Error]) -> list[Error]:
    """Merge errors that several workers logged, but not those that one worker repeats. The newest come first."""
    merged: list[Error] = []
    places: dict[tuple[str, str, str], int] = {}
    for error in errors:
        key = (error.level, error.logger, error.text)
        last = merged[places[key]] if key in places else None
        if last and error.worker not in last.workers and last.time - error.time <= SAME_SECONDS:
            merged[places[key]] = msgspec.structs.replace(last, workers=sorted([*last.workers, error.worker]))
        else:
            places[key] = len(merged)
            merged.append(msgspec.structs.replace(error, workers=[error.worker]))
    return merged


def _text(record: logging.LogRecord) -> str:
    """Return the message with its reason and its exception, if it has them."""
    parts = [record.getMessage()]
    if reason := getattr(record, "reason", None):
        parts.append(str(reason))
    if record.exc_info and (exception := record.exc_info[1]):
        parts.append(f"{type(exception).__name__}: {exception}")
    return ": ".join(parts)


def _read(path: Path) -> list[Error]:
    try:
        return _decode(path.read_bytes())
    except (OSError, ValueError):  # damaged: msgspec's errors and UTF-8 errors are ValueErrors
        return []
