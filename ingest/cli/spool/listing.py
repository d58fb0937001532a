"""The lines that `ingest spool ls` and `ingest spool verify` print."""

from collections.abc import Iterator
from pathlib import Path

from ingest.clock import unix_us
from ingest.spool.files import damaged, legacy
from ingest.spool.inspection import Contents, contents

EMPTY = "The spool is empty: nothing waits for the database."
REFUSED_SHOWN = 10


def list_lines(folder: Path) -> Iterator[str]:
    """Yield a line for each spool, each refused record, and each damaged or old file."""
    empty = True
    for spool in contents(folder):
        yield f"{spool.name}: {spool.state}; {_usage(spool)}"
        yield from _refused_lines(spool)
        empty = False
    for line in _file_lines(folder):
        yield line
        empty = False
    if empty:
        yield EMPTY


def verify_lines(folder: Path) -> tuple[bool, list[str]]:
    """Read every record. Return whether all are whole, and a line for each spool and file."""
    ok, lines = not damaged(folder), []
    for spool in contents(folder, decode=True):
        unreadable = spool.broken | spool.newer
        ok = ok and not spool.damage and not unreadable
        records, events = spool.usage.records - len(unreadable), spool.usage.events - sum(unreadable.values())
        line = f"{spool.name}: {records} records, {events} events are whole"
        if spool.broken:
            line += f"; damaged records: {', '.join(map(str, spool.broken))}"
        if spool.newer:
            line += f"; records of a newer version, which must read them: {', '.join(map(str, spool.newer))}"
        lines += [line, *(f"  damaged: {place}" for place in spool.damage)]
    return ok, lines + list(_file_lines(folder)) or [EMPTY]


def _usage(spool: Contents) -> str:
    usage = spool.usage
    if not usage.records:
        return "empty"
    age = max(0, unix_us() // 1000 - (spool.oldest_ms or 0)) // 1000
    return (
        f"{usage.events} events in {usage.records} records, {usage.bytes / 2**20:.1f} MiB; "
        f"{spool.unpublished} events unpublished; the oldest is {age} s old"
    )


def _refused_lines(spool: Contents) -> Iterator[str]:
    for refused in spool.refused[:REFUSED_SHOWN]:
        yield f"  set aside: {refused.count} events from id {refused.first_id} on: {refused.reason}"
    if len(spool.refused) > REFUSED_SHOWN:
        yield f"  and {len(spool.refused) - REFUSED_SHOWN} more"
    if spool.damage:
        yield f"  damaged in {len(spool.damage)} places: see `ingest spool verify`"


def _file_lines(folder: Path) -> Iterator[str]:
    for path in damaged(folder):
        yield f"{path.name}: damaged; all whole records were read out of it; delete it when you no longer need it"
    for path in legacy(folder):
        yield f"{path.name}: from an older version; the service, or `ingest spool drain`, takes it over"
