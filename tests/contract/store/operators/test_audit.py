"""The contract of every store's audit trail (`ingest.audit.trail`), tested on each database."""

from ingest.audit.trail import Actor, entry_of, first_entry_id
from ingest.store.base import Store

NOW_US = 1_738_331_100_123_456
HOSTILE = Actor("user:o'neil \\ \u0259 \U0001f4de", "'; DROP TABLE ingest_audit; --")
LATER = first_entry_id(NOW_US + 10)


async def test_entries_come_back_as_they_were_newest_first(store: Store) -> None:
    details = {"event_ids": [1, 2**62], "name": "a'b\\c\n\u0000\u0259", "count": 2}
    entries = [entry_of(NOW_US + number, HOSTILE, "dead.drop", details) for number in range(3)]
    for entry in entries:
        await store.add_audit(entry)

    assert await store.audit_entries(LATER, 10) == entries[::-1]
    assert await store.audit_entries(entries[2].id, 1) == [entries[1]]


async def test_old_entries_are_deleted_in_parts(store: Store) -> None:
    entries = [entry_of(NOW_US + number, HOSTILE, "token.create", {}) for number in range(4)]
    for entry in entries:
        await store.add_audit(entry)

    assert await store.forget_audit(NOW_US + 3, 2) == 2
    assert await store.forget_audit(NOW_US + 3, 2) == 1
    assert await store.forget_audit(NOW_US + 3, 2) == 0

    assert await store.audit_entries(LATER, 10) == entries[3:]
