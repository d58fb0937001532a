"""Reads the spools of a data folder without changing them: for `ingest spool ls` and `verify`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

import msgspec

from ingest.events.ids import milliseconds_of
from ingest.spool.files import is_held, segments_of, spools
from ingest.spool.records import Place, Record, Refused, Usage
from ingest.spool.segments.index import Index
from ingest.spool.segments.loading import Loader
from ingest.spool.segments.log import Segment

State = Literal["in use", "left behind"]
PAGE_RECORDS = 64
TRIES_MAX = 20


class Contents(msgspec.Struct, frozen=True):
    """The contents of one spool. `unpublished` counts events, `oldest_ms` is Unix time.

    `damage` has a line for each damaged place. `broken` has the first id and number of events of each damaged record,
    if the records were decoded.
    """

    name: str
    state: State
    usage: Usage
    unpublished: int
    oldest_ms: int | None
    refused: list[Refused]
    damage: list[str]
    broken: dict[int, int]


def contents(folder: Path, *, decode: bool = False) -> Iterator[Contents]:
    """The contents of each spool that is not empty. With `decode` every record is decoded. Raises `OSError`."""
    for number in spools(folder):
        for _ in range(TRIES_MAX):
            with suppress(FileNotFoundError):  # its owner has just deleted an empty segment
                yield _contents(folder, number, decode=decode)
                break


def _contents(folder: Path, number: int, *, decode: bool) -> Contents:
    with ExitStack() as opened:
        paths = segments_of(folder, number)
        segments = [Segment(at, path, writable=False) for at, path in enumerate(paths)]
        for segment in segments:
            opened.callback(segment.close)

        def read(place: Place) -> bytes:
            return segments[place.segment].read(place)

        index = Index(lambda segment, change: None)
        opened.callback(index.close)
        loader = Loader(index, read, segments)
        while loader.step():
            pass
        first_id = index.first_id()
        return Contents(
            f"spool-{number}",
            "in use" if is_held(folder, number) else "left behind",
            index.usage,
            index.unpublished(),
            None if first_id is None else milliseconds_of(first_id),
            [Refused(*row[:3], read(row.place)) for row in index.refused()],
            loader.damage,
            dict(_broken(index, read)) if decode else {},
        )


def _broken(index: Index, read: Callable[[Place], bytes]) -> Iterator[tuple[int, int]]:
    first_id = 0
    while rows := index.after(first_id, PAGE_RECORDS):
        for row in rows:
            if Record(*row[:3], read(row.place)).unpacked() is None:
                yield row[:2]
        first_id = rows[-1].first_id
