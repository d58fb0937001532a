"""The command `ingest config`."""

import click

from ingest.cli.options import with_settings
from ingest.cli.shell.output import say
from ingest.settings import Settings, masked


@click.command()
@with_settings
def config(settings: Settings) -> None:
    """Print the effective settings, with secrets masked, as lines of an environment file."""
    for name, value in masked(settings).items():
        say(f"{name}={value}")
