"""The command `ingest doctor`: checks everything that the service needs. It leaves nothing behind."""

import sys
from collections.abc import Iterator

import click

from ingest.auth.tokens import warning_about
from ingest.cli.doctor.broker_checks import broker_checks
from ingest.cli.doctor.database_checks import database_checks
from ingest.cli.doctor.finding import Finding, run
from ingest.cli.doctor.host_checks import host_checks
from ingest.cli.options import with_settings
from ingest.cli.shell.output import say
from ingest.errors import IngestError, SettingsError
from ingest.server.data_folder import running
from ingest.server.file_owner import act_as_owner, check_folder
from ingest.server.listeners.tls import check_tls
from ingest.settings import Settings

REACHABLE = ("database", "broker", "stream")
"""Checks whether a server can be reached at all."""


@click.command()
@with_settings
def doctor(settings: Settings) -> None:
    """Check settings, host, database, schema, broker and queue; say how to repair each failure.

    It inserts a row and rolls it back, and it publishes a message to a queue or stream of its own. Nothing stays.
    """
    ok = True
    act_as_owner(settings, folder=True, writes=False)  # check the files with the service's permissions
    for finding in examine(settings):
        ok &= finding.ok
        say(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name}: {finding.text}")
    sys.exit(0 if ok else 1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield each finding as soon as its check ends."""
    yield Finding("settings", True, "they fit together")
    yield from _exposure(settings)
    yield from _data_folder(settings)
    yield from host_checks(settings)
    for checks in (database_checks(settings), broker_checks(settings)):
        for name, check in checks.items():
            finding = run(name, check, settings)
            yield finding
            if not finding.ok and name in REACHABLE:
                break  # the other checks of this server would fail too


def _exposure(settings: Settings) -> Iterator[Finding]:
    if not settings.embedded:
        yield Finding("tokens", True, warning_about(settings.api_tokens) or "all are hashed")  # plain tokens work
    if settings.tls_cert:
        try:
            yield Finding("tls", True, check_tls(settings))
        except SettingsError as exc:
            yield Finding("tls", False, str(exc))


def _data_folder(settings: Settings) -> Iterator[Finding]:
    try:
        if service := running(settings.data_dir):
            yield Finding("service", True, f"runs here: {service}")
        yield Finding("data folder", True, check_folder(settings.data_dir))
    except (IngestError, OSError) as exc:
        yield Finding("data folder", False, f"{exc} Make it writable, or set INGEST_DATA_DIR.")
