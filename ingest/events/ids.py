"""Event ids made by the service before any insert: time-ordered and unique without coordination.

A BIGINT of `41 bits milliseconds since EPOCH_MS | 12 bits slot | 10 bits sequence`. A slot belongs
to one worker process at a time (`ingest.pipeline.id_lease`), so two processes never make the same id.
"""

from collections.abc import Callable

EPOCH_MS = 1_735_689_600_000
"""2025-01-01T00:00:00Z. 41 bits of milliseconds last until 2094."""

SLOT_BITS, SEQUENCE_BITS = 12, 10
SLOTS_MAX = 1 << SLOT_BITS
LEASED_SLOTS_MAX = SLOTS_MAX - 256
"""Slots from this one on are never leased. Each worker index has one of them for provisional ids."""
SEQUENCE_MAX = 1 << SEQUENCE_BITS
ID_MAX = (1 << 63) - 1
"""The largest BIGINT. All ids are smaller."""
_TIME_SHIFT = SLOT_BITS + SEQUENCE_BITS
CLOCKS_APART_MS_MAX = 3_600_000
"""Ids further ahead of the clock were made by a wrong clock: no more ids of their slot are made."""


class IdGenerator:
    """Makes strictly increasing ids of one slot, also when the clock steps back.

    `now_us` gives microseconds of Unix time. The slot's earlier owner may have made ids up to `last_issued_ms` (Unix
    milliseconds), so this generator makes only later ones.
    """

    def __init__(self, slot: int, now_us: Callable[[], int], last_issued_ms: int = 0) -> None:
        if not 0 <= slot < SLOTS_MAX:
            raise ValueError(f"slot {slot} is not within 0..{SLOTS_MAX - 1}")
        self.slot = slot
        self._now_us = now_us
        # A tick is a millisecond and a sequence number as one integer: the id without its slot.
        self._next_tick = max(0, last_issued_ms - EPOCH_MS + 1) << SEQUENCE_BITS
        self._next_tick = self._tick()  # before the clock can step back: no id is below the producer
        self.producer = self._id_of(self._next_tick)
        """The first id that may be made. No other generator has it, so it names this one as a stream producer."""

    def take(self, count: int) -> list[int]:
        """Return the next `count` ids. Whole ranges of a millisecond cost an eighth of single ids."""
        tick = self._tick()
        end = self._next_tick = tick + count
        ids: list[int] = []
        while tick < end:
            following = min(end, (tick | SEQUENCE_MAX - 1) + 1)
            first = self._id_of(tick)
            ids += range(first, first + following - tick)
            tick = following
        return ids

    def _tick(self) -> int:
        return max((self._now_us() // 1000 - EPOCH_MS) << SEQUENCE_BITS, self._next_tick)

    def _id_of(self, tick: int) -> int:
        time = (tick >> SEQUENCE_BITS) << _TIME_SHIFT
        return time | self.slot << SEQUENCE_BITS | tick & (SEQUENCE_MAX - 1)

    @property
    def last_ms(self) -> int:
        """Unix milliseconds of the newest id. Before the first one, those of the generator's begin."""
        return (self._next_tick >> SEQUENCE_BITS) + EPOCH_MS


def milliseconds_of(event_id: int) -> int:
    """The Unix time in milliseconds at which the id was made."""
    return (event_id >> _TIME_SHIFT) + EPOCH_MS


def first_id_of(ms: int) -> int:
    """The smallest id of this Unix millisecond."""
    return max(0, ms - EPOCH_MS) << _TIME_SHIFT


def ids_of_second(event_id: int) -> range:
    """All ids that may be made within the same second as this one."""
    first = (event_id >> _TIME_SHIFT) // 1000 * 1000
    return range(first << _TIME_SHIFT, first + 1000 << _TIME_SHIFT)


def is_provisional(event_id: int) -> bool:
    """Other nodes may make the same id. Its event gets another id before it becomes a row or a message."""
    return slot_of(event_id) >= LEASED_SLOTS_MAX


def last_issued_of(last_issued_ms: int, newest_id: int, now_ms: int) -> int:
    """The `last_issued_ms` of a slot that is leased now. `newest_id` is the newest of all events, or 0.

    A restored table of slots may have an older value. Ids far ahead of the clock come from one host's wrong clock, and
    do not count.
    """
    newest_ms = milliseconds_of(newest_id) if newest_id else 0
    return max(last_issued_ms, newest_ms) if newest_ms <= now_ms + CLOCKS_APART_MS_MAX else last_issued_ms


def slot_of(event_id: int) -> int:
    """The slot of the worker that made the id."""
    return event_id >> SEQUENCE_BITS & (SLOTS_MAX - 1)
