"""The command `ingest log-level`."""

import click
import msgspec

from ingest.cli.options import DURATION, Duration
from ingest.cli.shell.output import say, warn
from ingest.cli.shell.targets import check_data_folder, using
from ingest.clock import unix_us
from ingest.files.atomic import replace_file
from ingest.server.data_folder import running
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings
from ingest.telemetry.log_level import FILE_NAME, LevelOverride
from ingest.telemetry.logs import Level


@click.command()
@click.argument("level", type=click.Choice(["debug", "info", "warning", "error", "usual"]))
@click.option(
    "--for", "duration", type=DURATION, default="15m", show_default=True, help="Time to keep it, such as 90s or 2h."
)
@using("data folder")
def log_level(settings: Settings, level: str, duration: Duration) -> None:
    """Make all workers on this host log at LEVEL for some time, then at INGEST_LOG_LEVEL again.

    `usual` returns to INGEST_LOG_LEVEL at once. Workers follow within a second; a worker that starts later does too.
    """
    act_as_owner(settings, folder=True)
    check_data_folder(settings)
    if not running(settings.data_dir):
        warn("note: no service runs in this data folder now; one that starts later takes the level.")
    say(change(settings, level, duration))


def change(settings: Settings, level: str, duration: Duration) -> str:
    """Override the level for all workers of the data folder; `usual` removes the override. Return the text to print."""
    file = settings.run_dir / FILE_NAME
    if level == "usual":
        file.unlink(missing_ok=True)
        return f"the log level is {settings.log_level} again"
    override = LevelOverride(msgspec.convert(level, Level), unix_us() + duration.seconds * 1_000_000)
    replace_file(file, msgspec.json.encode(override))
    return f"the log level is {level} for {duration.text}, then {settings.log_level}"
