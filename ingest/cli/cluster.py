"""The commands of `ingest cluster`: the broker target that all nodes of a database share, and its switch."""

import time
from uuid import uuid4

import click

from ingest.broker.target_record import TargetRecord, explain_difference, live_nodes, target_of, target_text
from ingest.cli.shell.output import say
from ingest.cli.shell.targets import using
from ingest.errors import SettingsError
from ingest.server.factories.store import with_store
from ingest.settings import Settings
from ingest.store.mysql.store import MySQLStore


@click.group()
def cluster() -> None:
    """Show or switch the broker that all nodes of a database publish to."""


@cluster.command("ls", short_help="List the agreed broker and the broker of each live worker.")
@using("database")
def cluster_ls(settings: Settings) -> None:
    """List the broker that all nodes agreed on, and each worker that was seen in the last day with its broker."""
    record = with_store(settings, lambda store: _mysql(store).record())
    say(f"agreed: {target_text(record.shared) if record.shared else 'nothing yet'}")
    for member in record.workers:
        seen = "live" if member.live else f"last seen {member.seen_seconds_ago:.0f} s ago"
        say(f"{member.node}: {target_text(member.target)} ({seen})")
    if record.waiting:
        say("events wait in the outbox")


@cluster.command("switch", short_help="Make all nodes publish to the broker in this command's settings.")
@using("database")
def cluster_switch(settings: Settings) -> None:
    """Make all nodes of the database publish to the broker in this command's settings, from now on.

    The command is refused while a live worker has the earlier settings: stop that worker first. Events in the outbox go
    to the new broker. Use the command if events still wait in the outbox; otherwise the first node that starts
    switches by itself.
    """
    target = target_of(settings)

    def replaces(record: TargetRecord) -> bool:
        if record.shared and (nodes := live_nodes(record, record.shared)):
            raise SettingsError(explain_difference(target, record.shared, f"live nodes with it: {', '.join(nodes)}"))
        return True

    async def switch(store: object) -> None:
        table, worker = _mysql(store), str(uuid4())
        await table.share(worker, f"ingest cluster switch {time.strftime('%F %T')}", target, replaces)
        await table.leave(worker)

    with_store(settings, switch)
    say(f"agreed: {target_text(target)}")


def _mysql(store: object) -> MySQLStore:
    if not isinstance(store, MySQLStore):
        raise SettingsError("`ingest cluster` needs MySQL or MariaDB: a SQLite database has one node only.")
    return store
