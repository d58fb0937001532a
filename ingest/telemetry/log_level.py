"""Changes the log level while the service runs: `ingest log-level` writes a file, which every worker polls."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from ingest.clock import NowUs
from ingest.telemetry.logs import LEVEL_NAMES, Level
from ingest.ticks import pause

log = logging.getLogger("ingest.log_level")

POLL_SECONDS = 1.0
FILE_NAME = "log-level"


class LevelOverride(msgspec.Struct, frozen=True):
    """Replaces the settings' log level until `until_us` (Unix time, microseconds)."""

    level: Level
    until_us: int


def current_override(folder: Path, now_us: int) -> LevelOverride | None:
    """Return the override in force. A missing, damaged or expired file is none."""
    file = folder / FILE_NAME
    if not os.access(file, os.F_OK):
        return None  # nearly always, at a tenth of an exception's cost
    try:
        found = msgspec.json.decode(file.read_bytes(), type=LevelOverride)
    except (OSError, ValueError):  # damaged: msgspec's errors and UTF-8 errors are ValueErrors
        return None
    return found if now_us < found.until_us else None


class LevelWatch:
    """`run` polls the file until it is cancelled."""

    def __init__(self, folder: Path, level: Level, now_us: NowUs, set_level: Callable[[str], None]) -> None:
        """`level` is the settings' level. `set_level` takes the names of Python's logging."""
        self._folder = folder
        self._default = self._level = level
        self._now_us = now_us
        self._set_level = set_level

    async def run(self) -> None:
        while True:
            self.look()
            await pause(POLL_SECONDS)

    def look(self) -> None:
        found = current_override(self._folder, self._now_us())
        level = found.level if found else self._default
        if level != self._level:
            self._level = level
            self._set_level(LEVEL_NAMES[level])
            log.log(max(logging.INFO, log.getEffectiveLevel()), "log level changed", extra={"to": level})
