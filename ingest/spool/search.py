"""Finds events in the spools of a data folder without changing them: for `ingest events`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.spool.files import segments_of, spools
from ingest.spool.inspection import PAGE_RECORDS, TRIES_MAX
from ingest.spool.records import Place, Record
from ingest.spool.segments.index import Index
from ingest.spool.segments.loading import Loader
from ingest.spool.segments.log import Segment

EVENTS_MAX = 1_000_000
"""Most events that a search decodes. A larger spool is searched in part, oldest first."""


class SpooledEvent(msgspec.Struct, frozen=True):
    """`batch` has only this event. `published` says that its message is confirmed, and only the row is missing."""

    spool: str
    published: bool
    batch: Batch


def spooled(folder: Path, wanted: Callable[[int, Event], bool], events_max: int = EVENTS_MAX) -> Iterator[SpooledEvent]:
    """Yield the wanted events of all spools, by id and event. Raises `OSError`."""
    left = events_max
    for number in spools(folder):
        for _ in range(TRIES_MAX):
            with suppress(FileNotFoundError):  # its owner has just deleted an empty segment
                found, left = _found(folder, number, wanted, left)
                yield from found
                break


def _found(
    folder: Path, number: int, wanted: Callable[[int, Event], bool], left: int
) -> tuple[list[SpooledEvent], int]:
    found = []
    with ExitStack() as opened:
        segments = [Segment(at, path, writable=False) for at, path in enumerate(segments_of(folder, number))]
        for segment in segments:
            opened.callback(segment.close)

        def read(place: Place) -> bytes:
            return segments[place.segment].read(place)

        index = Index(lambda segment, change: None)
        opened.callback(index.close)
        loader = Loader(index, read, segments)
        while loader.step():
            pass
        first_id = -1
        while left > 0 and (rows := index.after(first_id, PAGE_RECORDS)):
            for row in rows:
                left -= row.events
                if batch := Record(*row[:3], read(row.place)).unpacked():
                    published = row.lease_until is None
                    picked = [batch.picked([at]) for at in _positions(batch, wanted)]
                    found += [SpooledEvent(f"spool-{number}", published, one) for one in picked]
            first_id = rows[-1].first_id
    return found, left


def _positions(batch: Batch, wanted: Callable[[int, Event], bool]) -> list[int]:
    return [at for at, pair in enumerate(zip(batch.ids, batch.events, strict=True)) if wanted(*pair)]
