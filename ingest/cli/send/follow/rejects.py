"""FILE.rejected of a follower: each refused line once, although line numbers begin anew in each rotated file."""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ingest.cli.send.follow.batch import RefusedLine

SUFFIX = ".rejected"


class FollowRejects:
    """Appends rows of file, line, errors and event. `file` tells the rotated files apart."""

    def __init__(self, file: Path, keys: Collection[str]) -> None:
        """`keys` are those of the files that a killed run may have been sending."""
        self._path = file.with_name(file.name + SUFFIX)
        self._known = {row for row in self._rows() if row[0] in keys}

    def add(self, key: str, refused: Sequence[RefusedLine]) -> None:
        """Append with an fsync. Skip the lines that a killed run has added. Raises `OSError`."""
        new = [one for one in refused if (key, one.line) not in self._known]
        if not new:
            return
        with self._path.open("ab") as file:
            for line, event, errors in new:
                row = {"file": key, "line": line, "errors": errors, "event": event.decode(errors="replace")}
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._known.update((key, one.line) for one in new)

    def _rows(self) -> Iterator[tuple[str, int]]:
        """Yield key and line of each row. A last row that a killed run left incomplete is cut off."""
        if not self._path.exists():
            return
        whole_bytes = 0
        with self._path.open("rb") as file:
            for row in file:
                if not row.endswith(b"\n"):
                    os.truncate(self._path, whole_bytes)
                    return
                whole_bytes += len(row)
                with suppress(ValueError, TypeError, KeyError):
                    found = json.loads(row)
                    yield found["file"], int(found["line"])
