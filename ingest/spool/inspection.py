"""Looks into the spools of a data folder without touching them: for `ingest spool ls` and `verify`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

import msgspec

from ingest.events.ids import milliseconds_of
from ingest.spool.files import is_held, segments_of, spools
from ingest.spool.index import Index
from ingest.spool.loading import Loader
from ingest.spool.log import Segment
from ingest.spool.records import Place, Record, Refused, Usage
from ingest.spool.segment import read_at

State = Literal["in use", "left behind"]
PAGE_RECORDS = 64
TRIES_MAX = 20


class Contents(msgspec.Struct, frozen=True):
    """Of one spool. `unpublished` counts events, `oldest_ms` is Unix time, `damage` has a line for each place of it;
    `broken` has first ids and events of records that are not whole, if these were looked at."""

    name: str
    state: State
    usage: Usage
    unpublished: int
    oldest_ms: int | None
    refused: list[Refused]
    damage: list[str]
    broken: dict[int, int]


def contents(folder: Path, *, decode: bool = False) -> Iterator[Contents]:
    """Of each spool that holds something; `decode` every record. Raises `OSError`."""
    for number in spools(folder):
        for _ in range(TRIES_MAX):
            with suppress(FileNotFoundError):  # its owner has just deleted what is empty
                yield _contents(folder, number, decode=decode)
                break


def _contents(folder: Path, number: int, *, decode: bool) -> Contents:
    with ExitStack() as opened:
        paths = segments_of(folder, number)
        segments = [Segment(at, path, writable=False) for at, path in enumerate(paths)]
        for segment in segments:
            opened.callback(segment.close)

        def read(place: Place) -> bytes:
            return read_at(segments[place.segment].descriptor, place.place, place.size)

        index = Index(lambda segment, change: None)
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
            [Refused(*row[:3], read(Place(*row[3:]))) for row in index.refused()],
            loader.damage,
            dict(_broken(index, read)) if decode else {},
        )


def _broken(index: Index, read: Callable[[Place], bytes]) -> Iterator[tuple[int, int]]:
    first_id = 0
    while rows := index.after(first_id, PAGE_RECORDS):
        for row in rows:
            if Record(*row[:3], read(Place(*row[3:]))).unpacked() is None:
                yield row[:2]
        first_id = rows[-1][0]
