"""A database in memory. It outlives the workers that use it."""

from collections.abc import Sequence

import msgspec

from ingest.auth.tokens import Token
from ingest.errors import DuplicateKeys, IdsTaken
from ingest.events.batch import Batch, divided, duplicate_keys_in
from ingest.events.idempotency import digest_of, fingerprint_of
from ingest.events.ids import CLOCKS_APART_MS_MAX, LEASED_SLOTS_MAX, last_issued_of
from ingest.outbox.dead_letters import DeadLetter
from ingest.store.base import SlotLease

Row = tuple[str, str, bytes, int]
"""Call, type, payload, and the time of acceptance in Unix microseconds."""


class Entry(msgspec.Struct):
    """An entry of the outbox. Its lease ends at this time of the database's clock, in seconds."""

    batch: Batch
    lease_until: float


class Slot(msgspec.Struct):
    node: str
    life: str
    until: float
    last_issued_ms: int


class Database:
    """Each method is one transaction. `now` is the time of the database's own clock, in seconds."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.payloads: dict[bytes, list[int]] = {}
        """Payload → ids of its rows."""
        self.entries: dict[int, Entry] = {}
        self.keys: dict[bytes, tuple[bytes, int]] = {}
        """Digest of an idempotency key → fingerprint, id of its event."""
        self.slots: dict[int, Slot] = {}
        self.dead: dict[int, DeadLetter] = {}
        self.tokens: dict[bytes, Token] = {}
        self.token_changes = 0
        self.settled: list[Batch] = []
        """Entries that were deleted. The world looks at them after each step."""
        self.down = False
        self.hangs = False
        self.refuses = False
        """It refuses every batch, and does not say why, as with a full disk."""
        self.takes_all = False
        """Somebody has changed the table, so it refuses no content any more."""
        self.slow_seconds = 0.0

    def commit(self, batch: Batch, lease_until: float, settled: Sequence[int]) -> None:
        if self._insert(batch):
            self.entries[batch.first_id] = Entry(batch, lease_until)
        self.settle(settled)

    def insert_published(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._insert(batch)
            entry = self.entries.get(batch.first_id)
            if entry and len(entry.batch) <= len(batch):  # it may be that of a larger batch
                self.settle([batch.first_id])

    def settle(self, first_ids: Sequence[int]) -> None:
        for first_id in first_ids:
            if entry := self.entries.pop(first_id, None):
                self.settled.append(entry.batch)

    def claim(self, limit: int, now: float, until: float) -> list[int]:
        free = sorted((entry.lease_until, first_id) for first_id, entry in self.entries.items())
        claimed = [first_id for lease_until, first_id in free if lease_until <= now][:limit]
        for first_id in claimed:
            self.entries[first_id].lease_until = until
        return sorted(claimed)

    def add_dead(self, batch: Batch, reason: str, now_us: int) -> None:
        for position, event_id in enumerate(batch.ids):
            one = batch.part(position, position + 1)
            self.dead.setdefault(event_id, DeadLetter(event_id, reason, now_us, one))

    def change_tokens(self, tokens: dict[bytes, Token]) -> None:
        self.tokens = tokens
        self.token_changes += 1

    def lease_slot(self, node: str, life: str, now: float, until: float, now_ms: int) -> tuple[int, int] | None:
        free = sorted(
            (slot.until, number)
            for number, slot in self.slots.items()
            if slot.until < now and number < LEASED_SLOTS_MAX and slot.last_issued_ms <= now_ms + CLOCKS_APART_MS_MAX
        )
        number = free[0][1] if free else max(self.slots, default=-1) + 1
        if number >= LEASED_SLOTS_MAX:
            return None
        last_issued_ms = self.slots[number].last_issued_ms if number in self.slots else 0
        self.slots[number] = Slot(node, life, until, last_issued_ms)
        return number, last_issued_of(last_issued_ms, max(self.rows, default=0), now_ms)

    def renew_slot(self, lease: SlotLease, life: str, until: float) -> bool:
        slot = self.slots.get(lease.slot)
        if slot is None or slot.node != lease.node or slot.life not in (life, lease.life):
            return False
        self.slots[lease.slot] = Slot(lease.node, life, until, max(slot.last_issued_ms, lease.last_issued_ms))
        return True

    def _divide(self, batch: Batch) -> None:
        """Divide the entry of a larger batch that begins with this one."""
        entry = self.entries.get(batch.first_id)
        if entry and len(entry.batch) > len(batch):
            part, rest = divided(entry.batch, batch)
            self.entries[part.first_id] = Entry(part, entry.lease_until)
            self.entries[rest.first_id] = Entry(rest, 0.0)

    def _insert(self, batch: Batch) -> bool:
        """Insert the rows. Return False if exactly these rows are stored already."""
        if batch.has_keys:
            held = [(digest, *self.keys[digest]) for _, key in batch.keyed() if (digest := digest_of(key)) in self.keys]
            if same := duplicate_keys_in(batch, held):
                raise DuplicateKeys(same)
        rows: dict[int, Row] = {
            event_id: (event.call_id, event.event_type, bytes(event.payload), batch.created_us)
            for event_id, event in zip(batch.ids, batch.events, strict=True)
        }
        stored = {event_id: self.rows[event_id] for event_id in rows if event_id in self.rows}
        if stored == rows:
            self._divide(batch)
            return False
        if stored:
            raise IdsTaken(batch.slot)
        self.rows.update(rows)
        for event_id, row in rows.items():
            self.payloads.setdefault(row[2], []).append(event_id)
        for event_id, key in batch.keyed():
            self.keys[digest_of(key)] = (fingerprint_of(key), event_id)
        return True
