"""SQL of a batch's commit, assembled as bytes: the whole transaction is one query."""

import secrets
from collections.abc import Sequence

from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.events.idempotency import digest_of, fingerprint_of
from ingest.events.ids import SEQUENCE_BITS, SLOT_BITS
from ingest.store.mysql.statements.literals import (
    created_literal,
    created_text,
    hex_listed,
    listed,
    microseconds,
    quoted,
)
from ingest.store.mysql.statements.outbox import INSERT_ENTRY, delete_entries, delete_published

INSERT_EVENTS = b"INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) VALUES "
READ_ROWS = (
    b"SELECT id, call_id, event_type, CAST(created_time AS CHAR) FROM call_event_logs WHERE id IN (%b) ORDER BY id"
)
INSERT_KEYS = b"INSERT INTO ingest_keys (digest, fingerprint, event_id) VALUES "
READ_KEYS = b"SELECT digest, fingerprint, event_id FROM ingest_keys WHERE digest IN (%b)"
DELETE_KEYS = b"DELETE FROM ingest_keys WHERE event_id < %d ORDER BY event_id LIMIT %d"


def commit(batch: Batch, lease_seconds: float, settled: Sequence[int]) -> bytes:
    """A batch's transaction: its rows, its outbox entry, and the entries settled meanwhile.

    It needs a session without autocommit. The server answers each statement by itself, and each answer wakes the
    client, so the transaction has few statements.
    """
    entry = (batch.first_id, len(batch), microseconds(lease_seconds), quoted(pack(batch)))
    statements = [*insert_keys(batch), insert_events(batch), INSERT_ENTRY % entry]
    if settled:
        statements.append(delete_entries(settled))
    statements.append(b"COMMIT")
    return b";".join(statements)


def insert_published(batches: Sequence[Batch]) -> bytes:
    """The transaction of published batches: their rows, but no outbox entries. Earlier entries are deleted."""
    return b";".join([*insert_keys(*batches), insert_events(*batches), delete_published(batches), b"COMMIT"])


def insert_events(*batches: Batch) -> bytes:
    """One multi-row INSERT of the batches' events."""
    parts, types = [INSERT_EVENTS], dict[str, bytes]()
    for batch in batches:
        end = b"'," + created_literal(batch.created_us) + b"),"
        for event_id, event in zip(batch.ids, batch.events, strict=True):
            event_type = types.get(event.event_type)
            if event_type is None:
                event_type = types[event.event_type] = b"'," + quoted(event.event_type.encode()) + b",'"
            # As `quoted` does, without its calls and copies.
            call_id = event.call_id.encode().replace(b"\\", b"\\\\").replace(b"'", b"\\'")
            payload = event.payload.replace(b"\\", b"\\\\").replace(b"'", b"\\'")
            parts += (b"(%d,'" % event_id, call_id, event_type, payload, end)
    parts[-1] = parts[-1][:-1]
    return b"".join(parts)


def insert_keys(*batches: Batch) -> Sequence[bytes]:
    """The statement that inserts the events' idempotency keys; empty if they have none.

    The keys are sorted. So two transactions with the same keys wait for each other instead of a deadlock.
    """
    keys = [(key, event_id) for batch in batches if batch.has_keys for event_id, key in batch.keyed()]
    if not keys:
        return ()
    rows = (
        b"(x'%b',x'%b',%d)" % (digest_of(key).hex().encode(), fingerprint_of(key).hex().encode(), event_id)
        for key, event_id in sorted(keys)
    )
    return (INSERT_KEYS + b",".join(rows),)


def probe() -> bytes:
    """The statements of a commit, rolled back. The id is in the first millisecond of all: no event has such an id."""
    event_id = secrets.randbelow(1 << SEQUENCE_BITS + SLOT_BITS) + 1
    row = b"(%d,'probe','probe','{}',UTC_TIMESTAMP(6))" % event_id
    entry = INSERT_ENTRY % (event_id, 0, 0, b"''")
    return b";".join((b"BEGIN", INSERT_EVENTS + row, entry, b"ROLLBACK"))


def json_valid(batches: Sequence[Batch]) -> bytes:
    """Asks the server whether each payload is JSON. The result is one text with a `1` or `0` per payload, in order."""
    verdicts = (b"JSON_VALID(" + quoted(event.payload) + b")" for batch in batches for event in batch.events)
    return b"SELECT CONCAT(" + b",".join(verdicts) + b")"


def read_keys(batch: Batch) -> bytes | None:
    """Reads the stored rows of the events' idempotency keys; None if the events have no keys."""
    digests = [digest_of(key) for _, key in batch.keyed()]
    return READ_KEYS % hex_listed(digests) if digests else None


def read_rows(batch: Batch) -> bytes:
    """Reads the batch's rows without their payloads; see `own_rows`."""
    return READ_ROWS % listed(batch.ids)


def own_rows(batch: Batch) -> list[tuple[int, str, str, str]]:
    """The result of `read_rows` if the rows are the batch's own."""
    created = created_text(batch.created_us)
    return [(i, event.call_id, event.event_type, created) for i, event in zip(batch.ids, batch.events, strict=True)]
