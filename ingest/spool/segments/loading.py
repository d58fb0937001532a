"""Loads the records of segments into the index, in small steps, so that other calls can use the index meanwhile.

The loader reads from the newest entry to the oldest: it knows the marks about a record before it meets the record.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from ingest.errors import DuplicateKeys
from ingest.events.batch_codec import unpack_one
from ingest.spool.records import Place
from ingest.spool.segments.format import BATCHES, KEYED, KINDS, Entry, Gap, Kind, aside_of, entries, ids_of
from ingest.spool.segments.index import LOADING, Index, RefusedRow, Row
from ingest.spool.segments.log import Segment

PIECE_ENTRIES = 500
FREED_RECORDS = 5000
"""A step takes a few milliseconds."""
TAKEN = "other events have its ids"


class Found(NamedTuple):
    """An entry of a segment, and where its content is. A batch's `content` is kept only if it has idempotency keys."""

    kind: int
    first_id: int
    events: int
    place: Place
    whole: bool
    content: bytes


class Loader:
    """`damage` describes the damaged places, a line each."""

    def __init__(self, index: Index, read: Callable[[Place], bytes], segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.damage: list[str] = []
        self.conflicts: list[Row] = []
        """Batches whose ids other events have."""
        self._index = index
        self._read = read
        self._marked: defaultdict[Kind, set[int]] = defaultdict(set)
        """The first ids that the marks of each kind are about."""
        self._steps = self._load()

    def step(self) -> bool:
        """Do a piece of the work. Return False when all is done. Raises `OSError`."""
        return next(self._steps, self) is None

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
            self._report(segment, f"{entry.size} bytes from {entry.offset} on")
            return
        kind, first_id, events, offset, content, whole = entry
        if not whole:
            self._report(segment, f"{len(content)} bytes from {offset} on, of the batch {first_id}")
        elif kind & ~KEYED not in KINDS:
            self._report(segment, f"{len(content)} bytes from {offset} on, of a newer version")
        if kind & ~KEYED in KINDS:
            place = Place(segment.number, offset, len(content))
            found.append(Found(kind, first_id, events, place, whole, b"" if kind in BATCHES else content))

    def _report(self, segment: Segment, what: str) -> None:
        segment.gaps += 1
        self.damage.append(f"{segment.path.name}: {what}")

    def _take(self, piece: Sequence[Found]) -> None:
        rows: list[Row] = []
        removed, settled = self._marked[Kind.REMOVED], self._marked[Kind.SETTLED]
        for one in piece:
            kind = one.kind & ~KEYED
            if kind in BATCHES:
                if one.first_id not in removed:
                    published = kind == Kind.PUBLISHED or one.first_id in settled or not one.whole
                    rows.append(Row(one.first_id, one.events, None if published else LOADING, one.place))
                    if kind != one.kind:
                        self._keep_keys(one.content)
            elif kind == Kind.ASIDE:
                if one.first_id not in self._marked[Kind.RETRIED]:
                    self._refuse(one)
            elif one.whole:
                self._marked[Kind(kind)].update(ids_of(one.content))
        for row in self._index.add_new(rows):
            self._compare(row)

    def _compare(self, row: Row) -> None:
        """Find out whether the record with this id is another copy of the same batch, or a conflict."""
        held = self._index.find(row.first_id)
        if held and held.place != row.place and self._read(held.place) != self._read(row.place):
            self.conflicts.append(row)

    def _keep_keys(self, content: bytes) -> None:
        if batch := unpack_one(content):
            with suppress(DuplicateKeys):  # the database decides which event is kept
                self._index.keep_keys(batch)

    def _refuse(self, one: Found) -> None:
        reason, start = aside_of(one.content)
        place = one.place.tail(max(0, one.place.size - start))
        others = [row for row in self._index.refused() if row.first_id == one.first_id]
        if all(self._read(row.place) != one.content[start:] for row in others):
            self._index.refuse(RefusedRow(one.first_id, one.events, reason, place))
