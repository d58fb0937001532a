"""The commands of `ingest cluster`: what the workers of a database publish to, and the switch to something else."""

import os
import time
from uuid import uuid4

import click

from ingest.broker.target_record import TargetRecord, explain_difference, live_nodes, target_of, text_of
from ingest.errors import SettingsError
from ingest.server.wiring import with_store
from ingest.settings import Settings, read_settings
from ingest.store.mysql.store import MySQLStore


@click.group()
def cluster() -> None:
    """What the nodes of one database publish to."""


@cluster.command("ls", short_help="List what all agreed on, and what each live worker has.")
def cluster_ls() -> None:
    """List what all who share the database agreed to publish to, and each worker that was seen in the last day."""
    record = with_store(_settings(), lambda store: _mysql(store).record())
    click.echo(f"agreed: {text_of(record.shared) if record.shared else 'nothing yet'}")
    for member in record.workers:
        seen = "live" if member.live else f"last seen {member.seen_seconds_ago:.0f} s ago"
        click.echo(f"{member.node}: {text_of(member.target)} ({seen})")
    if record.waiting:
        click.echo("events wait in the outbox")


@cluster.command("switch", short_help="Let all publish to what this command's settings name.")
def cluster_switch() -> None:
    """Let all who share the database publish to what the settings of this command name, from now on.

    Refused while a live worker has the earlier settings: stop it first. Events that wait in the outbox go to the new
    target. Needed where not all could be published before the switch; else the first node that starts does the same.
    """
    settings = _settings()
    target = target_of(settings)

    def replaces(record: TargetRecord) -> bool:
        if record.shared and (holders := live_nodes(record, record.shared)):
            raise SettingsError(explain_difference(target, record.shared, f"so have {', '.join(holders)}"))
        return True

    async def switch(store: object) -> None:
        table, worker = _mysql(store), str(uuid4())
        await table.share(worker, f"ingest cluster switch {time.strftime('%F %T')}", target, replaces)
        await table.leave(worker)

    with_store(settings, switch)
    click.echo(f"agreed: {text_of(target)}")


def _mysql(store: object) -> MySQLStore:
    if not isinstance(store, MySQLStore):
        raise SettingsError("INGEST_DATABASE_URL names SQLite: one node has it, which agrees with itself.")
    return store


def _settings() -> Settings:
    return read_settings(os.environ)
