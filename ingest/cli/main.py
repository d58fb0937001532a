"""The commands of `ingest`: each reads the settings, calls one module, and says what came of it."""

import asyncio
import logging.config
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ingest import __version__
from ingest.cli.cluster import cluster
from ingest.cli.dead_cli import dead
from ingest.cli.replay.command import replay
from ingest.cli.retention import retention
from ingest.cli.token_cli import tokens
from ingest.errors import IngestError
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings, masked, read_settings
from ingest.sqlite import file_of
from ingest.telemetry.logs import log_config

HELP = """Call events from telephony servers: durable in MySQL, published to RabbitMQ.

Settings are environment variables; `ingest config` prints them all. Without any, the service runs embedded:
SQLite and a queue of its own below ./var.

\b
First steps:
  ingest migrate            create or update the tables
  ingest serve              take events on http://localhost:8000/api/call-events
  ingest tail --limit 1     take one message off the queue and print it
  ingest doctor             check everything, and say what to do
  ingest top                watch a running service
"""


class Commands(click.Group):
    """Our errors end a command with one line and status 1, never with a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # `ingest tail | head`: click ends it quietly
        except (IngestError, OSError, sqlite3.Error) as exc:
            click.echo(f"ingest: {exc}", err=True)
            sys.exit(1)


@click.group(cls=Commands, help=HELP, context_settings={"max_content_width": 110})
@click.version_option(__version__, prog_name="ingest")
def main() -> None:
    logging.config.dictConfig(log_config("warning"))  # libraries are quiet; `serve` has its own


@main.command(short_help="Take events until SIGTERM or Ctrl-C.")
def serve() -> None:
    """Take events until SIGTERM or Ctrl-C; then finish what is in hand."""
    from ingest.server.granian import serve

    serve(_settings())


@main.command()
def migrate() -> None:
    """Create or update the tables. Safe to run again, and by two at once."""
    settings = _settings()
    applied = _migrate(settings)
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("the schema is up to date")
    for text in _differences(settings):
        click.echo(f"note: {text}", err=True)


def _migrate(settings: Settings) -> list[str]:
    if file := file_of(settings.database_url):
        from ingest.store.sqlite.store import migrate

        act_as_owner(settings, folder=False)
        return migrate(file)
    from ingest.store.mysql.migrate import migrate as migrate_mysql
    from ingest.store.mysql.pool import Servers

    servers = Servers.parse(settings.database_url)
    return asyncio.run(migrate_mysql(servers, settings.connect_timeout_seconds))


def _differences(settings: Settings) -> Sequence[str]:
    """What the tables differ in without losing events. Raises `SchemaError` if they would."""
    if settings.database_url.startswith("sqlite:"):
        from ingest.server.wiring import with_store

        with_store(settings, lambda store: store.ping())
        return ()
    from ingest.store.mysql.migrate import examine
    from ingest.store.mysql.pool import Servers

    servers = Servers.parse(settings.database_url)
    report = asyncio.run(examine(servers, settings.connect_timeout_seconds))
    report.raise_for_stops()
    return [*report.unfinished, *report.costs]


@main.command(short_help="Print the events in the queue, and take them off it.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many messages.")
@click.option("--timeout", type=click.FloatRange(min=0), help="End after so many seconds without one.")
@click.option("--properties", is_flag=True, help="Print message_id, type and timestamp, too, with the event as body.")
def tail(limit: int | None, timeout: float | None, properties: bool) -> None:
    """Print the events in the queue, one JSON a line, and acknowledge them: they are off the queue then."""
    from ingest.cli.tail import Printer, tail

    settings = _settings()
    act_as_owner(settings, folder=settings.broker_url == "embedded:")
    sys.exit(tail(settings, limit, timeout, Printer(properties)))


@main.command("log-level", short_help="Change the log's level while the service runs.")
@click.argument("level", type=click.Choice(["debug", "info", "warning", "error", "usual"]))
@click.option(
    "--for", "duration", metavar="TIME", default="15m", show_default=True, help="How long, such as 90s or 2h."
)
def log_level(level: str, duration: str) -> None:
    """Let all workers of this host's service log at LEVEL for some time, then at INGEST_LOG_LEVEL again.

    `usual` ends that at once. Workers follow within a second, and those that start meanwhile, too.
    """
    from ingest.cli.log_level import change

    settings = _settings()
    act_as_owner(settings, folder=True)
    click.echo(change(settings, level, duration))


@main.command(short_help="Print the effective settings, secrets masked.")
def config() -> None:
    """Print the effective settings, secrets masked, as lines of an environment file."""
    for name, value in masked(_settings()).items():
        click.echo(f"{name}={value}")


@main.command(short_help="Check everything, and say what to do.")
def doctor() -> None:
    """Check settings, database, schema, broker, queue and data folder; each failure says what to do."""
    from ingest.cli.doctor import examine

    ok, settings = True, _settings()
    act_as_owner(settings, folder=True, writes=False)  # so that it finds what the service finds
    for finding in examine(settings):
        ok &= finding.ok
        click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name}: {finding.text}")
    sys.exit(0 if ok else 1)


@main.command(short_help="Watch a running service's figures.")
@click.option("--url", default="http://localhost:8000", show_default=True, help="Of the service's pages.")
@click.option("--interval", type=click.FloatRange(min=0.5), default=2.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Print them once; so it is, too, if the output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print them once, as the service tells them.")
def top(url: str, interval: float, once: bool, as_json: bool) -> None:
    """Watch a running service: rate, latency, backlog, health and last errors of all its workers, until Ctrl-C."""
    from ingest.cli.top import PRINTED_WIDTH, Service, plain, screen, watch

    service = Service(url)
    if as_json:
        click.echo(service.ask())
    elif once or not sys.stdout.isatty():
        for line in screen(service.status(), plain, PRINTED_WIDTH):
            click.echo(line)
    else:
        watch(service, interval, sys.stdout, time.sleep)


@main.command(short_help="Post the events of a file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", default="http://localhost:8000", show_default=True, help="Of the service.")
@click.option("--token", envvar="CALL_EVENTS_TOKEN", required=True, help="Better in the variable CALL_EVENTS_TOKEN.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Events a second; as fast as it goes without."
)
@click.option("--batch", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Events a request.")
def send(file: Path, url: str, token: str, rate: float | None, batch: int) -> None:
    """Post the events of FILE: NDJSON, or CSV (by its name) whose first row names the fields.

    How far it came is kept in FILE.sent: after an interruption the same command goes on from there, and nothing is
    stored twice. Events that the service refuses are in FILE.rejected, with lines and errors; the exit code is 1 then.
    """
    from ingest.cli.send.poster import Poster
    from ingest.cli.send.sending import Sending

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


@main.group()
def spool() -> None:
    """What is kept on this machine while the database is away."""


@spool.command("ls")
def spool_ls() -> None:
    """List what waits for the database, what was set aside, and damaged files."""
    from ingest.cli.spool import ls

    settings = _settings()
    act_as_owner(settings, folder=True, writes=False)
    for line in ls(settings):
        click.echo(line)


@spool.command("verify")
def spool_verify() -> None:
    """Read every record; the exit code is 1 if any is damaged. Changes nothing; the service may run."""
    from ingest.cli.spool import verify

    settings = _settings()
    act_as_owner(settings, folder=True, writes=False)
    ok, lines = verify(settings)
    for line in lines:
        click.echo(line)
    sys.exit(0 if ok else 1)


@spool.command("retry")
@click.argument("first_ids", metavar="[ID]...", type=int, nargs=-1)
def spool_retry(first_ids: tuple[int, ...]) -> None:
    """Try what was set aside again, or of it the events that `ls` names by these ids; the service may run."""
    from ingest.cli.spool import retry

    settings = _settings()
    act_as_owner(settings, folder=True)
    click.echo(retry(settings, first_ids))


@spool.command("drain")
def spool_drain() -> None:
    """Bring it to the database now, while the service is stopped; the running service does it by itself."""
    from ingest.cli.spool import drain

    settings = _settings()
    act_as_owner(settings, folder=True)
    for line in drain(settings):
        click.echo(line)


main.add_command(cluster)
main.add_command(dead)
main.add_command(replay)
main.add_command(retention)
main.add_command(tokens)


def _settings() -> Settings:
    return read_settings(os.environ)
