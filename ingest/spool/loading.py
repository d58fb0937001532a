"""Finds out what segments hold that still waits, in small pieces: others use the index meanwhile.

From the newest entry to the oldest, so that what was said last of a record is known first.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from ingest.errors import DuplicateKeys
from ingest.events.batch import unpack_one
from ingest.spool.index import LOADING, Index, Row
from ingest.spool.log import Segment
from ingest.spool.records import Place
from ingest.spool.segment import BATCHES, KEYED, KINDS, Entry, Gap, Kind, aside_of, entries, ids_of

log = logging.getLogger("ingest.spool")

PIECE_ENTRIES = 500
FREED_RECORDS = 5000
"""Steps of a few milliseconds each."""
TAKEN = "other events have its ids"


class Found(NamedTuple):
    """A batch, and where it is; of what else is told the content, too."""

    kind: int
    first_id: int
    events: int
    place: Place
    whole: bool
    content: bytes


class Loader:
    """`damage` is what cannot be read: a line for each place of it."""

    def __init__(self, index: Index, read: Callable[[Place], bytes], segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.damage: list[str] = []
        self.conflicts: list[Found] = []
        """Batches whose ids others have."""
        self._index = index
        self._read = read
        self._said: defaultdict[Kind, set[int]] = defaultdict(set)
        self._pieces = self._load()

    def step(self) -> bool:
        """Do a piece of the work; False when all is done. Raises `OSError`."""
        return next(self._pieces, self) is None

    def _load(self) -> Iterator[None]:
        for segment in reversed(self.segments):
            found: list[Found] = []
            for number, entry in enumerate(entries(segment.descriptor, segment.mark)):
                self._note(segment, entry, found)
                if number % PIECE_ENTRIES == 0:
                    yield
            found.reverse()
            for start in range(0, len(found), PIECE_ENTRIES):
                self._index.transact(partial(self._take, found[start : start + PIECE_ENTRIES]))
                yield
        while self._index.free(FREED_RECORDS):
            yield

    def _note(self, segment: Segment, entry: Entry | Gap, found: list[Found]) -> None:
        if isinstance(entry, Gap):
            self._tell(segment, f"{entry.size} bytes from {entry.place} on")
            return
        kind, first_id, events, place, content, whole = entry
        if not whole:
            self._tell(segment, f"{len(content)} bytes from {place} on, of the batch {first_id}")
        elif kind & ~KEYED not in KINDS:
            self._tell(segment, f"{len(content)} bytes from {place} on, of a newer version")
        if kind & ~KEYED in KINDS:
            where = Place(segment.number, place, len(content))
            found.append(Found(kind, first_id, events, where, whole, b"" if kind in BATCHES else content))

    def _tell(self, segment: Segment, what: str) -> None:
        segment.gaps += 1
        self.damage.append(f"{segment.path.name}: {what}")

    def _take(self, piece: Sequence[Found]) -> None:
        rows: list[Row] = []
        removed, settled = self._said[Kind.REMOVED], self._said[Kind.SETTLED]
        for one in piece:
            kind = one.kind & ~KEYED
            if kind in BATCHES:
                if one.first_id not in removed:
                    published = kind == Kind.PUBLISHED or one.first_id in settled or not one.whole
                    rows.append((one.first_id, one.events, None if published else LOADING, *one.place))
                    if kind != one.kind:
                        self._keep_keys(one.content)
            elif kind == Kind.ASIDE:
                if one.first_id not in self._said[Kind.RETRIED]:
                    self._refuse(one)
            elif one.whole:
                self._said[Kind(kind)].update(ids_of(one.content))
        for row in self._index.add_new(rows):
            self._compare(row)

    def _compare(self, row: Row) -> None:
        """What is there by its id already."""
        held, place = self._index.find(row[0]), Place(*row[3:])
        if held and Place(*held[3:]) != place and self._read(Place(*held[3:])) != self._read(place):
            self.conflicts.append(Found(Kind.WAITING, row[0], row[1], place, True, b""))

    def _keep_keys(self, content: bytes) -> None:
        if batch := unpack_one(content):
            with suppress(DuplicateKeys):  # the database tells which of them is kept
                self._index.keep_keys(batch)

    def _refuse(self, one: Found) -> None:
        reason, start = aside_of(one.content)
        place = Place(one.place.segment, one.place.place + start, max(0, one.place.size - start))
        others = [row for row in self._index.refused() if row[0] == one.first_id]
        if all(self._read(Place(*row[3:])) != one.content[start:] for row in others):
            self._index.refuse(one.first_id, one.events, reason, place)
