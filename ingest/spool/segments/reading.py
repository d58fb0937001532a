"""Reads the spools of a data folder without changing them, while their owner may work with them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from ingest.spool.files import segments_of, spools
from ingest.spool.records import Place, Record
from ingest.spool.segments.index import Index
from ingest.spool.segments.loading import Loader
from ingest.spool.segments.log import Segment

T = TypeVar("T")
PAGE_RECORDS = 64
BELOW_ALL = -1
TRIES_MAX = 20


class Opened(msgspec.Struct, frozen=True):
    """The spool with this number, at one moment. `damage` has a line for each damaged place."""

    number: int
    index: Index
    damage: list[str]
    read: Callable[[Place], bytes]

    def records(self) -> Iterator[Record]:
        """All records, lowest id first. Raises `OSError`."""
        first_id = BELOW_ALL
        while rows := self.index.after(first_id, PAGE_RECORDS):
            for row in rows:
                yield Record(*row[:3], self.read(row.place))
            first_id = rows[-1].first_id


def of_each(folder: Path, look: Callable[[Opened], T]) -> Iterator[T]:
    """Look at each spool that is not empty. Raises `OSError`."""
    for number in spools(folder):
        for _ in range(TRIES_MAX):
            with suppress(FileNotFoundError):  # its owner has just deleted an empty segment
                with _opened(folder, number) as spool:
                    found = look(spool)
                yield found
                break


@contextmanager
def _opened(folder: Path, number: int) -> Iterator[Opened]:
    with ExitStack() as stack:
        segments = [Segment(at, path, writable=False) for at, path in enumerate(segments_of(folder, number))]
        for segment in segments:
            stack.callback(segment.close)
        index = Index(lambda segment, change: None)
        stack.callback(index.close)

        def read(place: Place) -> bytes:
            return segments[place.segment].read(place)

        loader = Loader(index, read, segments)
        while loader.step():
            pass
        yield Opened(number, index, loader.damage, read)
