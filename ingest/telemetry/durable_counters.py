"""Counts of durable events, exact even if a worker is killed between its commit and its counters.

Before a commit the worker writes the batch's ids into a file of its worker index (`ingest.files.locks`): a pending
commit. Before it changes the counters it adds their new values. Then it frees the entry. The next worker of the index
finds the pending commits of a killed one. It sets the counters to the values of a pending commit, if it has any.
Otherwise it asks the database how many of the batch's events are there. A memory-mapped file outlives its process, and
a batch costs 48 bytes of it.
"""

import asyncio
import logging
import mmap
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from prometheus_client import Counter

from ingest.errors import StoreError

log = logging.getLogger("ingest.ledger")

PENDING_COMMITS_MAX = 64
"""Commits beyond this number are counted too, but without protection. Those of a killed worker count towards it."""
RETRY_SECONDS = 1.0

FREE, COMMITTING, COUNTING = range(3)
_STATE = struct.Struct("<Q")
_IDS = struct.Struct("<QQ")
"""The first and the last id of the batch."""
_COUNTS = struct.Struct("<QQQ")
"""The new values of accepted, stored and repeated."""
_COMMIT = struct.Struct("<QQQ")
"""The first and the last id of the batch, and the number of its events, where the new values follow later."""
_IDS_AT, _COUNTS_AT = _STATE.size, _STATE.size + _IDS.size
_BYTES = _COUNTS_AT + _COUNTS.size

Counts = tuple[int, int, int]
"""Accepted, stored and repeated events."""


CountRows = Callable[[int, int], Awaitable[int]]
"""Counts the durable rows with ids from the first to the last; see `ingest.store.base.Store`. Raises `StoreError`."""


class DurableCounters:
    """One worker's counters. Nothing else may change them, and all calls must come from one thread."""

    def __init__(self, accepted: Counter, stored: Counter, repeated: Counter, file: Path | None = None) -> None:
        """Continue the counts of a killed worker of this index. Pending commits without a file die with the process."""
        self._counters = (accepted, stored, repeated)
        self._counts: Counts = (_value(accepted), _value(stored), _value(repeated))
        self._file = file
        self._map = _mapped(file)
        self._unfinished = [pending for pending in range(PENDING_COMMITS_MAX) if self._state(pending) == COMMITTING]
        for pending in range(PENDING_COMMITS_MAX):
            if self._state(pending) == COUNTING:
                self._apply(pending)
        self._free = [pending for pending in reversed(range(PENDING_COMMITS_MAX)) if pending not in self._unfinished]

    def reopen(self) -> None:
        """Move the pending commits to a new file, after somebody deleted the open one. Raises `OSError`."""
        fresh = _mapped(self._file)
        fresh[:] = self._map[:]
        self._map = fresh

    def begin(self, first_id: int, last_id: int, events: int) -> int | None:
        """Record a commit that begins now, and return its entry; None if all entries are in use.

        The batch may be a part of a larger one, some of whose ids are between these two.
        """
        if not self._free:
            return None
        pending = self._free.pop()
        _COMMIT.pack_into(self._map, pending * _BYTES + _IDS_AT, first_id, last_id, events)
        _STATE.pack_into(self._map, pending * _BYTES, COMMITTING)
        return pending

    def cancel(self, pending: int | None) -> None:
        """Free the entry of a failed commit, which counts nothing."""
        if pending is not None:
            _STATE.pack_into(self._map, pending * _BYTES, FREE)
            self._free.append(pending)

    def count(self, pending: int | None, *, accepted: int = 0, stored: int = 0, repeated: int = 0) -> None:
        """Count these events, and free the entry of their commit, if they have one."""
        before = self._counts
        after = (before[0] + accepted, before[1] + stored, before[2] + repeated)
        used = self.begin(0, 0, 0) if pending is None else pending
        if used is not None:
            _COUNTS.pack_into(self._map, used * _BYTES + _COUNTS_AT, *after)
            _STATE.pack_into(self._map, used * _BYTES, COUNTING)
        self._set(after)
        self.cancel(used)

    async def recover(self, count_rows: CountRows, after_seconds: float) -> None:
        """Count what a killed worker of this index had committed but not counted.

        Wait `after_seconds` first: by then the database has ended all of its commits.
        """
        if not self._unfinished:
            return
        await asyncio.sleep(after_seconds)
        while self._unfinished:
            pending = self._unfinished[-1]
            first_id, last_id, events = _COMMIT.unpack_from(self._map, pending * _BYTES + _IDS_AT)
            try:
                found = await count_rows(first_id, last_id)
            except StoreError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            found = min(found, events or found)  # an earlier version noted no number
            self.count(pending, accepted=found, stored=found)
            self._unfinished.pop()
            log.info("counted what a killed worker had committed", extra={"events": found})

    def _apply(self, pending: int) -> None:
        accepted, stored, repeated = _COUNTS.unpack_from(self._map, pending * _BYTES + _COUNTS_AT)
        self._set((accepted, stored, repeated))
        _STATE.pack_into(self._map, pending * _BYTES, FREE)

    def _set(self, counts: Counts) -> None:
        for counter, before, after in zip(self._counters, self._counts, counts, strict=True):
            if after > before:
                counter.inc(after - before)
        self._counts = counts

    def _state(self, pending: int) -> int:
        return int(_STATE.unpack_from(self._map, pending * _BYTES)[0])


def _value(counter: Counter) -> int:
    """The counter's first value, which comes from the files of the index's earlier worker."""
    (metric,) = counter.collect()
    return int(next(sample.value for sample in metric.samples if sample.name.endswith("_total")))


def _mapped(file: Path | None) -> mmap.mmap:
    size = PENDING_COMMITS_MAX * _BYTES
    if file is None:
        return mmap.mmap(-1, size)
    with file.open("a+b") as opened:
        opened.truncate(size)
        return mmap.mmap(opened.fileno(), size)
