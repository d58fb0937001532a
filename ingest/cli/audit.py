"""The command `ingest audit`."""

import click
import msgspec

from ingest.audit.trail import AuditEntry, first_entry_id
from ingest.cli.shell.output import say
from ingest.cli.shell.parameters import ROWS
from ingest.cli.shell.targets import using
from ingest.clock import time_text, unix_us
from ingest.server.factories.store import with_store
from ingest.settings import Settings

AHEAD_US = 86_400_000_000
"""Entries of a host whose clock is ahead are listed, too."""


@click.command()
@click.option("--limit", default=50, show_default=True, type=ROWS, help="Number of entries.")
@using("database")
def audit(settings: Settings, limit: int) -> None:
    """List the audit trail, newest first: time, actor, host or address, act, details.

    An entry is written before its act. If the act then failed, the entry says what was asked for. A running service
    deletes entries after INGEST_AUDIT_DAYS.
    """
    before_id = first_entry_id(unix_us() + AHEAD_US)
    entries = with_store(settings, lambda table: table.audit_entries(before_id, limit), read_only=True)
    for entry in entries:
        say(line_of(entry))
    if not entries:
        say("The audit trail is empty.")


def line_of(entry: AuditEntry) -> str:
    details = msgspec.json.encode(entry.details).decode()
    return f"{time_text(entry.time_us)}  {entry.actor}  {entry.origin}  {entry.action}  {details}"
