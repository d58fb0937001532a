"""The command `ingest serve`."""

import click

from ingest.cli.options import with_settings
from ingest.server import granian
from ingest.settings import Settings


@click.command()
@with_settings
def serve(settings: Settings) -> None:
    """Take events until SIGTERM or Ctrl-C, then finish queued events and stop."""
    granian.serve(settings)
