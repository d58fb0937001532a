"""The log's level, changed while the service runs: `ingest log-level` writes a file, and every worker looks at it."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from ingest.cli.duration import seconds_of
from ingest.clock import NowUs, unix_us
from ingest.files.atomic import replace_file
from ingest.settings import Settings
from ingest.telemetry.logs import LEVEL_NAMES, Level

log = logging.getLogger("ingest.log_level")

POLL_SECONDS = 0.5
FILE_NAME = "log-level"


class Wish(msgspec.Struct, frozen=True):
    """Until then (Unix time, microseconds) the log has another level than the settings'."""

    level: Level
    until_us: int


def change(settings: Settings, level: str, duration: str) -> str:
    """Ask all workers of the data folder for this, or (`usual`) for what the settings say; what to say of it."""
    folder = folder_of(settings)
    if level == "usual":
        (folder / FILE_NAME).unlink(missing_ok=True)
        return f"the log's level is {settings.log_level} again"
    asked = Wish(msgspec.convert(level, Level), unix_us() + seconds_of(duration) * 1_000_000)
    replace_file(folder / FILE_NAME, msgspec.json.encode(asked))
    return f"the log's level is {level} for {duration}, then {settings.log_level}"


def folder_of(settings: Settings) -> Path:
    return settings.data_dir / "run"


def wished(folder: Path, now_us: int) -> Wish | None:
    """What is asked for now; a file that holds no wish is none."""
    try:
        found = msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Wish)
    except (OSError, ValueError):  # damaged; msgspec's errors are such, and those of wrong UTF-8
        return None
    return found if now_us < found.until_us else None


class LevelWatch:
    """`run` works until it is cancelled."""

    def __init__(self, folder: Path, level: Level, now_us: NowUs, set_level: Callable[[str], None]) -> None:
        """`level` is the settings'; `set_level` takes logging's names."""
        self._folder = folder
        self._usual = self._level = level
        self._now_us = now_us
        self._set_level = set_level

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(POLL_SECONDS)

    def look(self) -> None:
        found = wished(self._folder, self._now_us())
        level = found.level if found else self._usual
        if level != self._level:
            self._level = level
            self._set_level(LEVEL_NAMES[level])
            log.log(max(logging.INFO, log.getEffectiveLevel()), "log level changed", extra={"to": level})
