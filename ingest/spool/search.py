"""Finds events in the spools of a data folder without changing them: for `ingest events`."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import msgspec

from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.spool.segments.reading import Opened, of_each

EVENTS_MAX = 1_000_000
"""Most events that a search decodes. A larger spool is searched in part, oldest first."""

Wanted = Callable[[int, Event], bool]


class SpooledEvent(msgspec.Struct, frozen=True):
    """`batch` has only this event. `published` says that its message is confirmed, and only the row is missing."""

    spool: str
    published: bool
    batch: Batch


def spooled(folder: Path, wanted: Wanted, events_max: int = EVENTS_MAX) -> Iterator[SpooledEvent]:
    """Yield the wanted events of all spools, by id and event. Raises `OSError`."""
    left = events_max

    def look(spool: Opened) -> list[SpooledEvent]:
        nonlocal left
        found = []
        for record in spool.records() if left > 0 else ():
            left -= record.count
            if batch := record.unpacked():
                picked = [batch.picked([at]) for at in _positions(batch, wanted)]
                found += [SpooledEvent(f"spool-{spool.number}", record.lease_until is None, one) for one in picked]
            if left <= 0:
                break
        return found

    return chain.from_iterable(of_each(folder, look))


def _positions(batch: Batch, wanted: Wanted) -> list[int]:
    return [at for at, pair in enumerate(zip(batch.ids, batch.events, strict=True)) if wanted(*pair)]
