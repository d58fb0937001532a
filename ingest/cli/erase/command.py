"""The command `ingest erase`."""

import secrets
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

import click
import msgspec

from ingest.audit.operator import operator
from ingest.audit.trail import Actor, AuditTrail
from ingest.cli.erase.local import LocalErasure
from ingest.cli.shell.output import say, warn
from ingest.cli.shell.parameters import Number, seconds
from ingest.cli.shell.targets import announce, check_data_folder, check_database
from ingest.clock import unix_us
from ingest.erasure.archives import ArchiveErasure
from ingest.erasure.matcher import Matcher, Wanted, problem_of
from ingest.erasure.report import Report, report_lines
from ingest.erasure.run import Erasure
from ingest.errors import SettingsError, StoreError
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.interrupts import run_main
from ingest.pipeline.id_lease import IdLease
from ingest.pipeline.identity import Identity
from ingest.server.factories.erasure import make_archive_folder, make_erasable
from ingest.server.factories.store import make_store
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings, read_settings

PAUSE_SECONDS = 0.01
PAUSE_SECONDS_MAX = 10.0
WAIT_SECONDS = 30.0
STDIN = "-"
INCOMPLETE = 1
BUSY = (
    "Another process is changing the partitions of call_event_logs, such as retention, which may be writing an "
    "archive. Nothing was erased; try again later."
)


@click.command()
@click.option("--number", "numbers", multiple=True, metavar="N", help="Phone number; may be repeated. - reads lines.")
@click.option("--call", "calls", multiple=True, metavar="ID", help="Call; may be repeated.")
@click.option("--yes", is_flag=True, help="Erase the events. Without it the command only counts them.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
@click.option(
    "--pause",
    type=Number(0, PAUSE_SECONDS_MAX),
    default=PAUSE_SECONDS,
    show_default=True,
    metavar="S",
    help="Rest after each 500 rows.",
)
@click.option(
    "--wait",
    type=seconds(),
    default=WAIT_SECONDS,
    show_default=True,
    metavar="S",
    help="Wait this long until a running service has drained its spool.",
)
def erase(numbers: Sequence[str], calls: Sequence[str], yes: bool, as_json: bool, pause: float, wait: float) -> None:
    """Erase the events of a phone number or a call, and tell consumers which events they were.

    The command searches call_event_logs, outbox, dead letters, this host's spool, the embedded queue and the archives.
    Run it on each host of the service. It changes nothing without --yes. A message of type events_erased names the ids
    of erased events. It cannot erase messages that the broker has: the report says so. Run it again after an
    interruption. The exit code is 1 if something could not be erased.
    """
    wanted = Wanted(tuple(_read(numbers)), tuple(calls))
    if problem := problem_of(wanted):
        raise SettingsError(problem)
    settings = read_settings()
    announce(settings, "database", "data folder")
    check_database(settings)
    check_data_folder(settings)
    actor = operator()
    act_as_owner(settings, folder=True, writes=yes)
    report = Report(secrets.token_hex(8), yes, len(wanted.numbers), len(wanted.calls))
    run_main(_erase(settings, Matcher(wanted), report, actor, pause, wait))
    if as_json:
        say(msgspec.json.encode(report).decode())
    else:
        for line in report_lines(report):
            say(line)
    sys.exit(0 if report.complete else INCOMPLETE)


def _read(numbers: Sequence[str]) -> Sequence[str]:
    """A number in an option stays in the shell's history. `-` reads them from standard input, a line each."""
    typed = [line.strip() for line in sys.stdin if line.strip()] if STDIN in numbers else []
    return [*(number for number in numbers if number != STDIN), *typed]


async def _erase(settings: Settings, matcher: Matcher, report: Report, actor: Actor, pause: float, wait: float) -> None:
    async with AsyncExitStack() as stack:
        store = make_store(settings, read_only=not report.acted)
        await store.start()
        stack.push_async_callback(store.close)
        identity = Identity(IdLease(settings.data_dir / "slots", store, unix_us), unix_us, None, 0.0)
        stack.push_async_callback(identity.release)
        database = await make_erasable(settings, read_only=not report.acted)
        stack.push_async_callback(database.close)
        if not await database.lock():
            raise StoreError(BUSY)

        async def new_batch(event: Event) -> Batch:
            batch = await identity.renew_ids(Batch([0], [event], unix_us()))
            return Batch(batch.ids, batch.events, batch.created_us)  # a stream would discard one of this new producer

        erasure = Erasure(database, matcher, report, new_batch, unix_us, pause)
        local = LocalErasure(settings, matcher, report, erasure, unix_us)
        if report.acted:
            asked = {"erasure": report.erasure, "numbers": report.numbers, "calls": report.calls}
            await AuditTrail(store, unix_us).record(actor, "events.erase", asked)
        await local.spools(wait)
        await erasure.run()
        await local.embedded_queue()
        if folder := make_archive_folder(settings):
            warn(f"archive: {folder.path}")
            await ArchiveErasure(folder, matcher, report, lambda ids: erasure.erase(ids, "archive"), unix_us).run()
