"""Reads prometheus-client's files, and finds damaged ones: those would fail, or never end, prometheus-client's reader.

A file has 4 bytes with its used size, 4 bytes of padding, and entries. An entry has 4 bytes with the key's size, and
the key with padding to a multiple of 8 bytes. The value and a time follow, both as doubles.
"""

import json
import logging
import re
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

log = logging.getLogger("ingest.metrics")

NAME = re.compile(r"(?:counter|histogram|gauge_live(?:sum|max|min))_-?\d+\.db")
"""Names of the files that this service's metrics have."""
ASIDE = ".damaged"
"""Ends the names of damaged files that were put aside."""

KEYS_MAX = 4096
"""Keys that are checked only once."""

_SIZE = struct.Struct("i")
_VALUE = struct.Struct("d8x")
_HEAD_BYTES = 8

Entries = Sequence[tuple[str, float]]
"""Keys and values of a file."""


class DamagedFileError(Exception):
    """The file is no metric file, or not a whole one."""


def read(path: Path) -> Entries:
    """Return the entries; none for a file that was just created. Raises `DamagedFileError` and `OSError`."""
    data = path.read_bytes()
    try:
        entries = _entries(data)
    except (struct.error, UnicodeDecodeError) as exc:
        raise DamagedFileError(str(exc)) from exc
    for key, _ in entries:
        if not _is_key(key):
            raise DamagedFileError(f"key {key[:80]!r}")
    return entries


def _entries(data: bytes) -> Entries:
    if not data:
        return []
    (used,) = _SIZE.unpack_from(data)
    if used and not _HEAD_BYTES <= used <= len(data):
        raise DamagedFileError(f"{used} bytes used of {len(data)}")
    entries, position = [], _HEAD_BYTES
    while position < used:
        (key_bytes,) = _SIZE.unpack_from(data, position)
        key_end = position + _SIZE.size + key_bytes
        value_at = key_end + 8 - key_end % 8
        if key_bytes <= 0 or value_at + _VALUE.size > used:
            raise DamagedFileError(f"entry of {key_bytes} bytes at byte {position}")
        entries.append((data[position + _SIZE.size : key_end].decode(), *_VALUE.unpack_from(data, value_at)))
        position = value_at + _VALUE.size
    return entries


@lru_cache(maxsize=KEYS_MAX)
def _is_key(key: str) -> bool:
    """True for the JSON of a metric's name, a series' name, labels and a help text."""
    try:
        metric, name, labels, text = json.loads(key)
    except (ValueError, TypeError):
        return False
    return isinstance(labels, dict) and all(isinstance(one, str) for one in (metric, name, text, *labels.values()))


class DamagedFiles:
    """Logs and counts each damaged file once, whichever worker finds it: a file beside it marks it as known."""

    def __init__(self) -> None:
        self._known: set[Path] = set()
        self._uncounted = 0
        self._count: Callable[[float], object] | None = None

    def count_with(self, count: Callable[[float], object]) -> None:
        """Call `count` with the number of files so far, and with 1 for each later one."""
        self._count = count
        count(self._uncounted)

    def ignore(self, path: Path, reason: Exception) -> None:
        """Leave the file to the worker that uses it."""
        if path in self._known:
            return
        self._known.add(path)
        try:
            path.with_name(path.name + ASIDE).touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError:
            pass  # a full disk: each worker then reports it
        self._report(path, reason)

    def put_aside(self, path: Path, reason: Exception) -> None:
        """Rename a file that no worker uses. Raises `OSError`."""
        known = path.with_name(path.name + ASIDE)
        if not known.exists():
            self._report(path, reason)
        path.replace(known)

    def _report(self, path: Path, reason: Exception) -> None:
        log.error("a metric file is damaged; /metrics leaves it out", extra={"file": path.name, "reason": str(reason)})
        if self._count:
            self._count(1)
        else:
            self._uncounted += 1
