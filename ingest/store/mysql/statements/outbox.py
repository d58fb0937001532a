"""SQL of outbox entries."""

from collections.abc import Iterable, Sequence

from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.outbox.base import COUNTED_MAX
from ingest.store.base import LEASE_SECONDS_MAX
from ingest.store.mysql.statements.literals import listed, microseconds, quoted

INSERT_ENTRY = (
    b"INSERT INTO ingest_outbox (first_id, count, lease_until, batch) "
    b"VALUES (%d, %d, UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, _binary%b)"
)
DELETE_ENTRIES = b"DELETE FROM ingest_outbox WHERE first_id IN (%s)"
DELETE_PUBLISHED = b"DELETE FROM ingest_outbox WHERE "
OF_PUBLISHED = b"(first_id = %d AND count <= %d)"
"""An entry with more events than the published batch stays. It is that of a larger batch, which began with this one."""
IS_LARGER = b"SELECT 1 FROM ingest_outbox WHERE first_id = %d AND count > %d"
LOCK_LARGER = b"SELECT batch FROM ingest_outbox WHERE first_id = %d AND count > %d FOR UPDATE"
CUT_ENTRY = b"UPDATE ingest_outbox SET count = %d, batch = _binary%b WHERE first_id = %d"
LEASE_IS_OVER = b"(lease_until <= UTC_TIMESTAMP(6) OR lease_until > UTC_TIMESTAMP(6) + INTERVAL %d SECOND)" % (
    LEASE_SECONDS_MAX
)
"""No lease lasts as long as the second limit. Such an entry was leased while the server's clock was ahead."""
ANY_CLAIMABLE = b"SELECT 1 FROM ingest_outbox WHERE " + LEASE_IS_OVER + b" LIMIT 1"
CLAIMABLE = (
    b"SELECT first_id FROM ingest_outbox WHERE "
    + LEASE_IS_OVER
    + b" ORDER BY lease_until, first_id LIMIT %d FOR UPDATE SKIP LOCKED"
)
LEASE = (
    b"UPDATE ingest_outbox SET lease_until = UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, "
    b"attempts = GREATEST(attempts, 0) + 1 WHERE first_id IN (%s)"
)
READ_ENTRIES = b"SELECT first_id, batch FROM ingest_outbox WHERE first_id IN (%b) ORDER BY first_id"
BACKLOG = (
    b"SELECT COALESCE(SUM(count), 0), MIN(first_id), COUNT(*) FROM "
    b"(SELECT first_id, count FROM ingest_outbox ORDER BY first_id LIMIT %d) AS oldest"
) % COUNTED_MAX
ESTIMATED_ROWS = (
    b"SELECT COALESCE(MAX(TABLE_ROWS), 0) FROM information_schema.TABLES "
    b"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '%b'"
)
"""InnoDB's current estimate. The session's settings keep MySQL from giving one that it cached up to a day ago."""


def delete_entries(first_ids: Iterable[int]) -> bytes:
    return DELETE_ENTRIES % listed(first_ids)


def delete_published(batches: Iterable[Batch]) -> bytes:
    """Delete the entries of these batches, all of whose events are published."""
    return DELETE_PUBLISHED + b" OR ".join(OF_PUBLISHED % (batch.first_id, len(batch)) for batch in batches)


def divide_entry(part: Batch, rest: Batch) -> Sequence[bytes]:
    """Cut the entry of both down to the part, and give the rest an entry that any relay may claim."""
    return (
        CUT_ENTRY % (len(part), quoted(pack(part)), part.first_id),
        delete_entries([rest.first_id]),  # such an entry has no other events than the rest
        INSERT_ENTRY % (rest.first_id, len(rest), 0, quoted(pack(rest))),
    )


def lease_entries(first_ids: Iterable[int], lease_seconds: float) -> bytes:
    return LEASE % (microseconds(lease_seconds), listed(first_ids))


def read_entries(first_ids: Iterable[int]) -> bytes:
    return READ_ENTRIES % listed(first_ids)
