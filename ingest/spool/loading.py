"""Finds out what segments hold that still waits, in small pieces: others use the index meanwhile.

From the newest entry to the oldest, so that what was said last of a record is known first.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from ingest.batches import unpack_one
from ingest.errors import Repeats
from ingest.spool.index import LOADING, Index
from ingest.spool.log import Segment
from ingest.spool.records import Place
from ingest.spool.segment import KEYED, KINDS, Entry, Gap, Kind, aside_of, entries, ids_of

log = logging.getLogger("ingest.spool")

PIECE_ENTRIES = 500
TAKEN = "other events have its ids"


class Loader:
    """`damage` is what cannot be read: a line for each place of it."""

    def __init__(self, index: Index, read: Callable[[Place], bytes]) -> None:
        self.damage: list[str] = []
        self.conflicts: list[tuple[int, int, Place]] = []
        """First id, count and place of batches whose ids others have."""
        self._index = index
        self._read = read
        self._said: defaultdict[Kind, set[int]] = defaultdict(set)

    def load(self, segments: Sequence[Segment]) -> Iterator[None]:
        """A step is a piece. Raises `OSError`."""
        for segment in reversed(segments):
            found: list[Entry] = []
            for number, entry in enumerate(entries(segment.descriptor, segment.mark)):
                self._note(segment, entry, found)
                if number % PIECE_ENTRIES == 0:
                    yield
            while found:
                for _ in range(min(PIECE_ENTRIES, len(found))):
                    self._take(segment.number, found.pop())
                yield
        while self._index.free(PIECE_ENTRIES):
            yield

    def _note(self, segment: Segment, entry: Entry | Gap, found: list[Entry]) -> None:
        if isinstance(entry, Gap):
            self._tell(segment, f"{entry.size} bytes from {entry.place} on")
            return
        kind = entry.kind & ~KEYED
        if not entry.whole:
            self._tell(segment, f"{len(entry.content)} bytes from {entry.place} on, of the batch {entry.first_id}")
        elif kind not in KINDS:
            self._tell(segment, f"{len(entry.content)} bytes from {entry.place} on, of a newer version")
        if kind in KINDS:
            found.append(entry)

    def _tell(self, segment: Segment, what: str) -> None:
        segment.gaps += 1
        self.damage.append(f"{segment.path.name}: {what}")

    def _take(self, segment: int, entry: Entry) -> None:
        kind = Kind(entry.kind & ~KEYED)
        if kind in (Kind.WAITING, Kind.PUBLISHED):
            if entry.first_id not in self._said[Kind.REMOVED]:
                self._add(kind, Place(segment, entry.place, len(entry.content)), entry)
        elif kind is Kind.ASIDE:
            if entry.first_id not in self._said[Kind.RETRIED]:
                self._refuse(segment, entry)
        elif entry.whole:
            self._said[kind].update(ids_of(entry.content))

    def _add(self, kind: Kind, place: Place, entry: Entry) -> None:
        held = self._index.find(entry.first_id)
        if held:
            if self._read(Place(*held[3:])) != entry.content:
                self.conflicts.append((entry.first_id, entry.events, place))
            return
        published = kind is Kind.PUBLISHED or entry.first_id in self._said[Kind.SETTLED] or not entry.whole
        self._index.add(entry.first_id, entry.events, None if published else LOADING, place)
        if entry.kind & KEYED and (batch := unpack_one(entry.content)):
            with suppress(Repeats):  # the database tells which of them is kept
                self._index.keep_keys(batch)

    def _refuse(self, segment: int, entry: Entry) -> None:
        reason, start = aside_of(entry.content)
        place = Place(segment, entry.place + start, max(0, len(entry.content) - start))
        content = entry.content[start:]
        others = [row for row in self._index.refused() if row[0] == entry.first_id]
        if all(self._read(Place(*row[3:])) != content for row in others):
            self._index.refuse(entry.first_id, entry.events, reason, place)
