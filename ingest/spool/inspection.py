"""Reads the spools of a data folder without changing them: for `ingest spool ls` and `verify`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ingest.events.batch_codec import is_newer
from ingest.events.ids import milliseconds_of
from ingest.spool.files import is_held
from ingest.spool.records import Record, Refused, Usage
from ingest.spool.segments.reading import Opened, of_each

State = Literal["in use", "left behind"]


class Contents(msgspec.Struct, frozen=True):
    """The contents of one spool. `unpublished` counts events, `oldest_ms` is Unix time.

    `damage` has a line for each damaged place. `broken` and `newer` have the first id of a record, and its number of
    events: of damaged ones, and of those of a newer version. They are empty if no record was decoded.
    """

    name: str
    state: State
    usage: Usage
    unpublished: int
    oldest_ms: int | None
    refused: list[Refused]
    damage: list[str]
    broken: dict[int, int]
    newer: dict[int, int]


def contents(folder: Path, *, decode: bool = False) -> Iterator[Contents]:
    """The contents of each spool that is not empty. With `decode` every record is decoded. Raises `OSError`."""

    def look(spool: Opened) -> Contents:
        first_id = spool.index.first_id()
        unreadable = _unreadable(spool) if decode else []
        return Contents(
            f"spool-{spool.number}",
            "in use" if is_held(folder, spool.number) else "left behind",
            spool.index.usage,
            spool.index.unpublished(),
            None if first_id is None else milliseconds_of(first_id),
            [Refused(*row[:3], spool.read(row.place)) for row in spool.index.refused()],
            spool.damage,
            {record.first_id: record.count for record in unreadable if not is_newer(record.batch)},
            {record.first_id: record.count for record in unreadable if is_newer(record.batch)},
        )

    return of_each(folder, look)


def _unreadable(spool: Opened) -> list[Record]:
    return [record for record in spool.records() if record.unpacked() is None]
