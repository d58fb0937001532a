"""The command `ingest log-level`."""

import msgspec

from ingest.cli.duration import seconds_of
from ingest.clock import unix_us
from ingest.files.atomic import replace_file
from ingest.settings import Settings
from ingest.telemetry.log_level import FILE_NAME, LevelOverride
from ingest.telemetry.logs import Level


def change(settings: Settings, level: str, duration: str) -> str:
    """Ask all workers of the data folder for this, or (`usual`) for what the settings say; what to say of it."""
    file = settings.run_dir / FILE_NAME
    if level == "usual":
        file.unlink(missing_ok=True)
        return f"the log's level is {settings.log_level} again"
    asked = LevelOverride(msgspec.convert(level, Level), unix_us() + seconds_of(duration) * 1_000_000)
    replace_file(file, msgspec.json.encode(asked))
    return f"the log's level is {level} for {duration}, then {settings.log_level}"
