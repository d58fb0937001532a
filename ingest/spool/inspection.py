"""Looks into the spools of a data folder without touching them: for `ingest spool ls` and `verify`."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec

from ingest.ids import milliseconds_of
from ingest.spool.files import damaged, is_held, salvaged, spools
from ingest.spool.records import Record, Refused
from ingest.spool.salvage import salvage

State = Literal["in use", "left behind", "damaged", "salvaged"]

TOTALS = """SELECT COUNT(*), COALESCE(SUM(count), 0), COALESCE(SUM(LENGTH(batch)), 0),
    COALESCE(SUM(count) FILTER (WHERE lease_until IS NOT NULL), 0), MIN(first_id) FROM spool"""
RECORDS = "SELECT first_id, count, lease_until, CAST(batch AS BLOB) FROM spool ORDER BY first_id"
REFUSED = "SELECT first_id, count, reason, CAST(batch AS BLOB) FROM refused ORDER BY first_id"
WAIT_SECONDS = 5.0


class Contents(msgspec.Struct, frozen=True):
    """`unpublished` counts events, as `events` does; `oldest_ms` is Unix time."""

    records: int
    events: int
    bytes: int
    unpublished: int
    oldest_ms: int | None
    refused: list[Refused]


class Listed(msgspec.Struct, frozen=True):
    """A file of the spool's folder; without contents it is not read for a list, or cannot be."""

    path: Path
    state: State
    contents: Contents | None = None
    problem: str | None = None


class Verified(msgspec.Struct, frozen=True):
    """What is whole in a file, and the first ids of records that are not; see `problem` in `Listed`."""

    path: Path
    records: int
    events: int
    broken: list[int]
    problem: str | None = None

    @property
    def ok(self) -> bool:
        return not self.broken and self.problem is None


def listed(folder: Path) -> Iterator[Listed]:
    for path in spools(folder):
        state: State = "in use" if is_held(path) else "left behind"
        try:
            yield Listed(path, state, _contents(path))
        except sqlite3.Error as exc:
            yield Listed(path, state, problem=str(exc))
    for path in damaged(folder):
        yield Listed(path, "damaged")
    for path in salvaged(folder):
        yield Listed(path, "salvaged")


def verified(folder: Path) -> Iterator[Verified]:
    """Decode every record of every spool, and look for whole ones in damaged files."""
    for path in spools(folder):
        records = events = 0
        broken: list[int] = []
        problem = None
        try:
            for record in _records(path):
                whole = record.unpacked() is not None
                records += whole
                events += record.count * whole
                if not whole:
                    broken.append(record.first_id)
        except sqlite3.Error as exc:
            problem = f"SQLite cannot read it: {exc}"
        yield Verified(path, records, events, broken, problem)
    for path in damaged(folder):
        whole_records = list(map(_count, salvage(path)))
        yield Verified(path, len(whole_records), sum(whole_records), [], "set aside as damaged")


def _count(record: Record) -> int:
    return record.count


def _contents(path: Path) -> Contents:
    with closing(_opened(path)) as connection:
        records, events, size, unpublished, first_id = connection.execute(TOTALS).fetchone()
        refused = [Refused(*row) for row in connection.execute(REFUSED)]
    oldest_ms = None if first_id is None else milliseconds_of(first_id)
    return Contents(records, events, size, unpublished, oldest_ms, refused)


def _records(path: Path) -> Iterator[Record]:
    with closing(_opened(path)) as connection:
        for row in connection.execute(RECORDS):
            yield Record(*row)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=WAIT_SECONDS, uri=True)
