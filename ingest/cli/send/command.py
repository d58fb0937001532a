"""The command `ingest send`."""

import sys
from pathlib import Path

import click

from ingest.cli.send.poster import Poster
from ingest.cli.send.sending import Sending


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", default="http://localhost:8000", show_default=True, help="URL of the service.")
@click.option("--token", envvar="CALL_EVENTS_TOKEN", required=True, help="Better set the variable CALL_EVENTS_TOKEN.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events a second; by default no limit.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Events in a request.")
def send(file: Path, url: str, token: str, rate: float | None, batch: int) -> None:
    """Post the events of FILE: NDJSON, or CSV (by its name) whose first row names the fields.

    FILE.sent keeps the progress: after an interruption the same command continues there, and no event is stored twice.
    FILE.rejected lists the events that the service refuses, with line and errors; the exit code is 1 then.
    """
    sending = Sending(file, Poster(url, token), batch, rate)
    for note in sending.notes:
        click.echo(note, err=True)
    with click.progressbar(length=file.stat().st_size, label=file.name, file=sys.stderr) as bar:
        progress = sending.run(lambda read: bar.update(read - bar.pos))
    click.echo(
        f"{progress.accepted} accepted, {progress.rejected} rejected; {sending.sent} of them now, "
        f"{sending.sent / max(sending.seconds, 1e-3):.0f} a second"
    )
    sys.exit(1 if progress.rejected else 0)
