"""Makes ids of this service for the original's rows, from their `created_time`, without any I/O.

A tick is a millisecond and a sequence number as one integer: the id without its slot. The slot belongs to adopted rows
alone, so no worker ever makes such an id. Rows of one time follow each other by the original's id. A row of a full
millisecond moves to the next one.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ingest.events.ids import CLOCKS_APART_MS_MAX, EPOCH_MS, SEQUENCE_BITS, SEQUENCE_MAX, SLOT_BITS

FIRST_TICK = 1 << SEQUENCE_BITS
"""Rows before `EPOCH_MS` begin here: their ids cannot hold an earlier time. A probe uses the first millisecond."""
EARLY_MS = 1000
"""Rows before the epoch share the epoch's first second with those of that second."""
MS_US = 1000


class Window(msgspec.Struct, frozen=True):
    """The ticks of all rows with one `created_time`, as exact as the column keeps it. `end` is exclusive."""

    start: int
    end: int


class OldRow(msgspec.Struct, frozen=True):
    """`created_us` is None for NULL, a zero date, or a time in the future."""

    old_id: int
    created_us: int | None


class NewRow(msgspec.Struct, frozen=True):
    old_id: int
    id: int
    created_us: int


def id_of(tick: int, slot: int) -> int:
    return (tick >> SEQUENCE_BITS) << (SLOT_BITS + SEQUENCE_BITS) | slot << SEQUENCE_BITS | tick & (SEQUENCE_MAX - 1)


def tick_of(event_id: int) -> int:
    return (event_id >> (SLOT_BITS + SEQUENCE_BITS)) << SEQUENCE_BITS | event_id & (SEQUENCE_MAX - 1)


def window_of(created_us: int, unit_us: int) -> Window:
    """`unit_us` is the resolution of the column, such as 1,000,000 for a TIMESTAMP."""
    unit_ms = max(1, unit_us // MS_US)
    first_ms = created_us // MS_US // unit_ms * unit_ms - EPOCH_MS
    if first_ms < EARLY_MS:
        return Window(FIRST_TICK, EARLY_MS << SEQUENCE_BITS)
    return Window(first_ms << SEQUENCE_BITS, first_ms + unit_ms << SEQUENCE_BITS)


def known_time(created_us: int | None, now_us: int) -> int | None:
    """None for a time that no row can have: an id of the future would lead the workers' clocks."""
    if created_us is None or created_us > now_us + CLOCKS_APART_MS_MAX * MS_US:
        return None
    return created_us


class Numbering:
    """`newest` is the newest tick of all adopted rows, or 0. `slot` belongs to adopted rows alone."""

    def __init__(self, slot: int, newest: int, unit_us: int) -> None:
        self._slot = slot
        self._newest = newest
        self._unit_us = unit_us

    def windows(self, rows: Iterable[OldRow]) -> Sequence[Window]:
        """The windows of these rows that may hold adopted rows already. `number` needs their newest ticks."""
        found = {window_of(row.created_us, self._unit_us) for row in rows if row.created_us is not None}
        return sorted((one for one in found if one.start <= self._newest), key=lambda one: one.start)

    def number(self, rows: Sequence[OldRow], last_ticks: Mapping[Window, int], before_us: int) -> list[NewRow]:
        """Number rows in the order of the original's ids. A row without a time gets that of the row before it.

        `before_us` is the time for the first row.
        """
        last = dict(last_ticks)
        numbered = []
        for row in rows:
            before_us = before_us if row.created_us is None else row.created_us
            window = window_of(before_us, self._unit_us)
            tick = self._next(window, last)
            last[self._window_at(tick)] = tick
            self._newest = max(self._newest, tick)
            numbered.append(NewRow(row.old_id, id_of(tick, self._slot), before_us))
        return numbered

    def _window_at(self, tick: int) -> Window:
        """The window of a tick, which is a later one than the row's if that one is full."""
        return window_of(((tick >> SEQUENCE_BITS) + EPOCH_MS) * MS_US, self._unit_us)

    def _next(self, window: Window, last: Mapping[Window, int]) -> int:
        if window.start > self._newest:
            return window.start
        tick = last.get(window, window.start - 1) + 1
        return tick if tick < window.end else self._newest + 1
