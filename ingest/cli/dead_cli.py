"""The commands of `ingest dead`; what they do is in `ingest.cli.dead_letters`."""

import os

import click

from ingest.settings import Settings, read_settings


@click.group()
def dead() -> None:
    """Events that RabbitMQ never takes.

    They are rows like all others, but in no message: too large for the broker, or refused or returned by it for
    INGEST_DEAD_LETTER_SECONDS. Nothing else waits for them.
    """


@dead.command("ls")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="How many, oldest first.")
def dead_ls(limit: int) -> None:
    """List them: id, when each was given up, call, type, reason."""
    from ingest.cli.dead_letters import ls

    for line in ls(_settings(), limit):
        click.echo(line)


@dead.command("retry")
@click.argument("event_ids", nargs=-1, type=int)
@click.option("--all", "every", is_flag=True, help="All of them.")
def dead_retry(event_ids: tuple[int, ...], every: bool) -> None:
    """Publish these once more: they are put back in the outbox of the running service."""
    from ingest.cli.dead_letters import retry

    click.echo(retry(_settings(), event_ids, every=every))


@dead.command("drop")
@click.argument("event_ids", nargs=-1, type=int)
@click.option("--all", "every", is_flag=True, help="All of them.")
def dead_drop(event_ids: tuple[int, ...], every: bool) -> None:
    """Forget these; their rows stay in call_event_logs."""
    from ingest.cli.dead_letters import drop

    click.echo(drop(_settings(), event_ids, every=every))


def _settings() -> Settings:
    return read_settings(os.environ)
