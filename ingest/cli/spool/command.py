"""The commands of `ingest spool`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from ingest.cli.options import with_settings
from ingest.cli.shell.output import say
from ingest.cli.shell.parameters import EVENT_ID
from ingest.cli.shell.targets import announce, check_data_folder, check_database
from ingest.cli.spool.drain import drain
from ingest.cli.spool.listing import list_lines, verify_lines
from ingest.errors import IngestError
from ingest.files.atomic import replace_file
from ingest.interrupts import run_main
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings
from ingest.spool.files import RETRY
from ingest.spool.inspection import contents


class NotSetAside(IngestError):
    """No events, or none with these ids, are set aside: see `ingest spool ls`."""

    code = "not_set_aside"


@click.group()
def spool() -> None:
    """Inspect the local spool, which holds events while the database is down."""


@spool.command("ls")
@with_settings
def spool_ls(settings: Settings) -> None:
    """List waiting batches, batches that are set aside, and damaged files."""
    for line in list_lines(_folder(settings, writes=False)):
        say(line)


@spool.command("verify")
@with_settings
def spool_verify(settings: Settings) -> None:
    """Read every record; the exit code is 1 if one is damaged. Changes nothing; the service may run."""
    ok, lines = verify_lines(_folder(settings, writes=False))
    for line in lines:
        say(line)
    sys.exit(0 if ok else 1)


@spool.command("retry")
@click.argument("first_ids", metavar="[ID]...", type=EVENT_ID, nargs=-1)
@with_settings
def spool_retry(settings: Settings, first_ids: Sequence[int]) -> None:
    """Retry batches that are set aside: all, or by the ids of `ls`. The service may run."""
    events = ask_owners(_folder(settings, writes=True), first_ids)
    if not events:
        raise NotSetAside
    say(f"{events} events wait for the database again: the service, or `ingest spool drain`, moves them.")


@spool.command("drain")
@with_settings
def spool_drain(settings: Settings) -> None:
    """Move the spool to the database now, while the service is stopped. The running service does it by itself."""
    announce(settings, "database")
    _folder(settings, writes=True)
    check_database(settings)
    for line in run_main(drain(settings)):
        say(line)


def _folder(settings: Settings, *, writes: bool) -> Path:
    """Return the spool's folder, which may be missing in a data folder that is there. Raises `SettingsError`."""
    announce(settings, "data folder")
    act_as_owner(settings, folder=True, writes=writes)
    return check_data_folder(settings, "spool")


def ask_owners(folder: Path, first_ids: Sequence[int]) -> int:
    """Ask the owner of each spool, by a file, to retry; return the number of events."""
    events = 0
    for found in contents(folder):
        asked = [one for one in found.refused if not first_ids or one.first_id in first_ids]
        if asked:
            content = msgspec.json.encode([one.first_id for one in asked])
            replace_file(folder / f"{found.name}.{time.time_ns()}{RETRY}", content)
            events += sum(one.count for one in asked)
    return events
