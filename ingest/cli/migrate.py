"""The command `ingest migrate`."""

from collections.abc import Sequence

import click

from ingest.cli.options import with_settings
from ingest.cli.shell.output import say, warn
from ingest.cli.shell.targets import announce
from ingest.interrupts import run_main
from ingest.server.factories.store import with_store
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings
from ingest.sqlite import file_of
from ingest.store.mysql.migrate import examine
from ingest.store.mysql.migrate import migrate as migrate_mysql
from ingest.store.mysql.pool import Servers
from ingest.store.sqlite.store import migrate as migrate_sqlite


@click.command()
@with_settings
def migrate(settings: Settings) -> None:
    """Create or update the tables. Two runs at the same time, or a repeated run, do no harm."""
    announce(settings, "database")
    applied = _migrate(settings)
    for name in applied:
        say(f"applied {name}")
    if not applied:
        say("the schema is up to date")
    for text in _differences(settings):
        warn(f"note: {text}")


def _migrate(settings: Settings) -> list[str]:
    if file := file_of(settings.database_url):
        act_as_owner(settings, folder=False)
        return migrate_sqlite(file)
    servers = Servers.parse(settings.database_url)
    return run_main(migrate_mysql(servers, settings.connect_timeout_seconds))


def _differences(settings: Settings) -> Sequence[str]:
    """Return differences of the tables that lose no events. Raises `SchemaError` for one that would."""
    if file_of(settings.database_url):
        with_store(settings, lambda store: store.ping())
        return ()
    servers = Servers.parse(settings.database_url)
    report = run_main(examine(servers, settings.connect_timeout_seconds))
    report.raise_for_stops()
    return [*report.unfinished, *report.costs]
