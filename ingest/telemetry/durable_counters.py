"""Counts of durable events that are exact also after a worker was killed between its commit and its counters.

Before a commit its ids are noted in a file of the worker's seat (`ingest.files.locks`), and before the counters are
changed what they are to become; then the note is struck out. Whoever takes the seat of a killed worker finds the
notes it left. One with values is carried out; of one without, the database tells how many of its
events there are. Memory that is mapped to a file outlives its process, and 48 bytes a batch is all that is written.
"""

import asyncio
import logging
import mmap
import struct
from pathlib import Path
from typing import Protocol

from prometheus_client import Counter

from ingest.errors import StoreError

log = logging.getLogger("ingest.ledger")

NOTES_MAX = 64
"""More commits at once than these, those that a killed worker left included, are counted, but without a note."""
RETRY_SECONDS = 1.0

FREE, COMMITTING, COUNTING = range(3)
_STATE = struct.Struct("<Q")
_IDS = struct.Struct("<QQ")
"""The first and the last of the batch."""
_COUNTS = struct.Struct("<QQQ")
"""What accepted, stored and repeated are to become."""
_IDS_AT, _COUNTS_AT = _STATE.size, _STATE.size + _IDS.size
_BYTES = _COUNTS_AT + _COUNTS.size

Counts = tuple[int, int, int]
"""Accepted, stored and repeated events."""


class Rows(Protocol):
    async def count_rows(self, first_id: int, last_id: int) -> int:
        """See `ingest.store.base.Store`."""


class DurableCounters:
    """Of one worker; the only one to change these counters, and only ever in one thread."""

    def __init__(self, accepted: Counter, stored: Counter, repeated: Counter, file: Path | None = None) -> None:
        """Carry on where the seat's last worker was killed, if it was; without a file notes die with their process."""
        self._counters = (accepted, stored, repeated)
        self._counts: Counts = (_value(accepted), _value(stored), _value(repeated))
        self._file = file
        self._map = _mapped(file)
        self._left = [note for note in range(NOTES_MAX) if self._state(note) == COMMITTING]
        for note in range(NOTES_MAX):
            if self._state(note) == COUNTING:
                self._carry_out(note)
        self._free = [note for note in reversed(range(NOTES_MAX)) if note not in self._left]

    def reopen(self) -> None:
        """Keep the notes in a new file: somebody deleted the one that is open. Raises `OSError`."""
        fresh = _mapped(self._file)
        fresh[:] = self._map[:]
        self._map = fresh

    def begin(self, first_id: int, last_id: int) -> int | None:
        """Note a commit that begins now."""
        if not self._free:
            return None
        note = self._free.pop()
        _IDS.pack_into(self._map, note * _BYTES + _IDS_AT, first_id, last_id)
        _STATE.pack_into(self._map, note * _BYTES, COMMITTING)
        return note

    def cancel(self, note: int | None) -> None:
        """The commit failed: nothing is to be counted."""
        if note is not None:
            _STATE.pack_into(self._map, note * _BYTES, FREE)
            self._free.append(note)

    def count(self, note: int | None, *, accepted: int = 0, stored: int = 0, repeated: int = 0) -> None:
        """Count these events, and strike out the note of their commit, if they have one."""
        was = self._counts
        becomes = (was[0] + accepted, was[1] + stored, was[2] + repeated)
        used = self.begin(0, 0) if note is None else note
        if used is not None:
            _COUNTS.pack_into(self._map, used * _BYTES + _COUNTS_AT, *becomes)
            _STATE.pack_into(self._map, used * _BYTES, COUNTING)
        self._set(becomes)
        self.cancel(used)

    async def recover(self, rows: Rows, after_seconds: float) -> None:
        """Count what the seat's last worker had committed but not counted; `after_seconds` none of that is going on."""
        if not self._left:
            return
        await asyncio.sleep(after_seconds)
        while self._left:
            note = self._left[-1]
            first_id, last_id = _IDS.unpack_from(self._map, note * _BYTES + _IDS_AT)
            try:
                found = await rows.count_rows(first_id, last_id)
            except StoreError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.count(note, accepted=found, stored=found)
            self._left.pop()
            log.info("counted what a killed worker had committed", extra={"events": found})

    def _carry_out(self, note: int) -> None:
        accepted, stored, repeated = _COUNTS.unpack_from(self._map, note * _BYTES + _COUNTS_AT)
        self._set((accepted, stored, repeated))
        _STATE.pack_into(self._map, note * _BYTES, FREE)

    def _set(self, becomes: Counts) -> None:
        for counter, before, after in zip(self._counters, self._counts, becomes, strict=True):
            if after > before:
                counter.inc(after - before)
        self._counts = becomes

    def _state(self, note: int) -> int:
        return int(_STATE.unpack_from(self._map, note * _BYTES)[0])


def _value(counter: Counter) -> int:
    """What it begins with: in a dead worker's files, what that one had counted."""
    (metric,) = counter.collect()
    return int(next(sample.value for sample in metric.samples if sample.name.endswith("_total")))


def _mapped(file: Path | None) -> mmap.mmap:
    size = NOTES_MAX * _BYTES
    if file is None:
        return mmap.mmap(-1, size)
    with file.open("a+b") as opened:
        opened.truncate(size)
        return mmap.mmap(opened.fileno(), size)
