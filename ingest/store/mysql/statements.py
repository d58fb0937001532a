"""SQL of the MySQL store, assembled as bytes: a batch is one query, all of its transaction.

Values are escaped as MySQL's manual says for single-quoted strings (String Literals); the session's
sql_mode, set at connect, has no NO_BACKSLASH_ESCAPES, and its character set is utf8mb4.
"""

import secrets
import time
from collections.abc import Iterable, Sequence

from ingest.auth.tokens import Token
from ingest.events.batch import Batch, pack
from ingest.events.idempotency import digest_of, fingerprint_of
from ingest.events.ids import SEQUENCE_BITS, SLOT_BITS, SLOTS_MAX, slot_of
from ingest.outbox.base import COUNTED_MAX
from ingest.outbox.dead_letters import packed_singly
from ingest.store.base import LEASE_SECONDS_MAX
from ingest.store.event_query import EventFilter

INSERT_EVENTS = b"INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) VALUES "
INSERT_ENTRY = (
    b"INSERT INTO ingest_outbox (first_id, count, lease_until, batch) "
    b"VALUES (%d, %d, UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, _binary%b)"
)
DELETE_ENTRIES = b"DELETE FROM ingest_outbox WHERE first_id IN (%s)"
READ_KEYS = (
    b"SELECT id, call_id, event_type, CAST(created_time AS CHAR) FROM call_event_logs WHERE id IN (%b) ORDER BY id"
)
LEASE_IS_OVER = b"(lease_until <= UTC_TIMESTAMP(6) OR lease_until > UTC_TIMESTAMP(6) + INTERVAL %d SECOND)" % (
    LEASE_SECONDS_MAX
)
"""No lease is as long as the second: the server's clock was ahead when it was given, and has been set right since."""
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
"""As InnoDB keeps it; the session lets MySQL tell that, and not what it remembers for a day."""
COUNT_ROWS = (
    b"SELECT COUNT(*) FROM call_event_logs WHERE id BETWEEN %d AND %d AND id >> "
    + str(SEQUENCE_BITS).encode()
    + b" & %d = %d"
)
FREE_SLOT = (
    b"SELECT slot, floor_ms FROM ingest_slots WHERE lease_until < UTC_TIMESTAMP(6) AND slot < %d AND floor_ms <= %d "
    b"ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED"
)
NEXT_SLOT = b"SELECT COALESCE(MAX(slot) + 1, 0) FROM ingest_slots"
NEW_SLOT = (
    b"INSERT INTO ingest_slots (slot, node, life, lease_until, floor_ms) "
    b"VALUES (%d, %s, %s, UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, 0)"
)
TAKE_SLOT = (
    b"UPDATE ingest_slots SET node = %s, life = %s, lease_until = UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND "
    b"WHERE slot = %d"
)
RENEW_SLOT = (
    b"UPDATE ingest_slots SET lease_until = UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND, "
    b"floor_ms = GREATEST(floor_ms, %d), life = %s WHERE slot = %d AND node = %s AND life IN (%s, %s)"
)
INSERT_KEYS = b"INSERT INTO ingest_keys (digest, fingerprint, event_id) VALUES "
READ_KEYS_HELD = b"SELECT digest, fingerprint, event_id FROM ingest_keys WHERE digest IN (%b)"
FORGET_KEYS = b"DELETE FROM ingest_keys WHERE event_id < %d ORDER BY event_id LIMIT %d"
TOKENS = (
    b"SELECT digest, name, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_time), "
    b"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', expires_time), events_per_second, burst "
    b"FROM ingest_tokens ORDER BY created_time, digest"
)
ADD_TOKEN = (
    b"INSERT INTO ingest_tokens (digest, name, created_time, expires_time, events_per_second, burst) "
    b"VALUES (x'%b', %b, %b, %b, %b, %b)"
)
EXPIRE_TOKENS = b"UPDATE ingest_tokens SET expires_time = LEAST(COALESCE(expires_time, %b), %b) WHERE digest IN (%b)"
REMOVE_TOKENS = b"DELETE FROM ingest_tokens WHERE digest IN (%b)"
NEWEST_ID = b"SELECT COALESCE(MAX(id), 0) FROM call_event_logs"
COUNT_EVENTS = b"SELECT COUNT(*) FROM call_event_logs WHERE "
READ_EVENTS = b"SELECT id, call_id, event_type, CAST(payload AS CHAR) FROM call_event_logs WHERE "
BURY = b"INSERT IGNORE INTO ingest_dead_letters (event_id, reason, died_time, batch) VALUES "
DEAD_LETTERS = (
    b"SELECT event_id, reason, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', died_time), batch "
    b"FROM ingest_dead_letters WHERE event_id > %d ORDER BY event_id LIMIT %d"
)
COUNT_DEAD = b"SELECT COUNT(*) FROM (SELECT 1 FROM ingest_dead_letters LIMIT %d) AS counted" % COUNTED_MAX
REVIVE = (
    b"INSERT INTO ingest_outbox (first_id, count, lease_until, batch) "
    b"SELECT event_id, 1, UTC_TIMESTAMP(6), batch FROM ingest_dead_letters WHERE event_id IN (%b)"
)
DROP_DEAD = b"DELETE FROM ingest_dead_letters WHERE event_id IN (%b)"
VERSION = b"SELECT COALESCE(MAX(version), 0) FROM ingest_migrations"
VERSION_AND_TIME = (
    b"SELECT COALESCE(MAX(version), 0), TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) "
    b"FROM ingest_migrations"
)


def quoted(value: bytes) -> bytes:
    """`value` (UTF-8) as a MySQL string literal."""
    return b"'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


def microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)


def created_literal(us: int) -> bytes:
    """Unix microseconds as a DATETIME(6) literal in UTC."""
    return quoted(_created(us).encode())


def _created(us: int) -> str:
    second, fraction = divmod(us, 1_000_000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(second))}.{fraction:06}"


def insert_events(*batches: Batch) -> bytes:
    """One multi-row INSERT of the batches' events."""
    parts = [INSERT_EVENTS]
    add = parts.append
    for batch in batches:
        end = b"'," + created_literal(batch.created_us) + b"),"
        for event_id, event in zip(batch.ids, batch.events, strict=True):
            add(b"(%d,'" % event_id)
            # Order matters: the backslashes that escape quotes must not be escaped themselves.
            add(event.call_id.encode().replace(b"\\", b"\\\\").replace(b"'", b"\\'"))
            add(b"','")
            add(event.event_type.encode().replace(b"\\", b"\\\\").replace(b"'", b"\\'"))
            add(b"','")
            add(event.payload.replace(b"\\", b"\\\\").replace(b"'", b"\\'"))
            add(end)
    parts[-1] = parts[-1][:-1]
    return b"".join(parts)


def probe() -> bytes:
    """The statements of a commit, rolled back. The id is of the first millisecond of all, in which none was made."""
    event_id = secrets.randbelow(1 << SEQUENCE_BITS + SLOT_BITS) + 1
    row = b"(%d,'probe','probe','{}',UTC_TIMESTAMP(6))" % event_id
    entry = INSERT_ENTRY % (event_id, 0, 0, b"''")
    return b";".join((b"BEGIN", INSERT_EVENTS + row, entry, b"ROLLBACK"))


def commit(batch: Batch, lease_seconds: float, settled: Sequence[int]) -> bytes:
    """A batch's transaction: its rows, its outbox entry, and the entries settled meanwhile.

    For a session without autocommit. The server answers each statement by itself, and each answer wakes
    the client, so there are as few as can be.
    """
    entry = (batch.first_id, len(batch), microseconds(lease_seconds), quoted(pack(batch)))
    statements = [*insert_keys(batch), insert_events(batch), INSERT_ENTRY % entry]
    if settled:
        statements.append(delete_entries(settled))
    statements.append(b"COMMIT")
    return b";".join(statements)


def insert_published(batches: Sequence[Batch]) -> bytes:
    """The transaction of batches that are published: their rows, and no outbox entries, not even earlier ones."""
    first_ids = [batch.first_id for batch in batches]
    return b";".join([*insert_keys(*batches), insert_events(*batches), delete_entries(first_ids), b"COMMIT"])


def insert_keys(*batches: Batch) -> Sequence[bytes]:
    """The statement that notes the keys of the batches' events; none if there are none.

    In the order of the keys, so that two transactions with the same ones wait for each other instead of dying.
    """
    keys = [(key, event_id) for batch in batches if batch.has_keys for event_id, key in batch.keyed()]
    if not keys:
        return ()
    rows = (
        b"(x'%b',x'%b',%d)" % (digest_of(key).hex().encode(), fingerprint_of(key).hex().encode(), event_id)
        for key, event_id in sorted(keys)
    )
    return (INSERT_KEYS + b",".join(rows),)


def json_valid(batches: Sequence[Batch]) -> bytes:
    """Asks the server of each payload whether it is JSON: one text of as many `1` and `0`, in their order."""
    verdicts = (b"JSON_VALID(" + quoted(event.payload) + b")" for batch in batches for event in batch.events)
    return b"SELECT CONCAT(" + b",".join(verdicts) + b")"


def read_held_keys(batch: Batch) -> bytes | None:
    """Asks for what is noted of the keys of the batch's events; None if they have none."""
    digests = [digest_of(key) for _, key in batch.keyed()]
    return READ_KEYS_HELD % _hex_listed(digests) if digests else None


def where(selection: EventFilter) -> bytes:
    """The condition that an event is one of the selection."""
    conditions = [b"id BETWEEN %d AND %d" % (selection.first_id, selection.last_id)]
    for column, texts in ((b"call_id", selection.call_ids), (b"event_type", selection.event_types)):
        if texts:
            conditions.append(b"%b IN (%b)" % (column, b",".join(quoted(text.encode()) for text in texts)))
    if selection.ids:
        conditions.append(b"id IN (%b)" % listed(selection.ids))
    return b" AND ".join(conditions)


def add_dead(batch: Batch, reason: str) -> bytes:
    """Keeps each event of the batch as a dead letter."""
    why = quoted(reason.encode())
    rows = (
        b"(%d,%b,UTC_TIMESTAMP(6),_binary%b)" % (event_id, why, quoted(packed))
        for event_id, packed in packed_singly(batch)
    )
    return BURY + b",".join(rows)


def count_rows(first_id: int, last_id: int) -> bytes:
    return COUNT_ROWS % (first_id, last_id, SLOTS_MAX - 1, slot_of(first_id))


def delete_entries(first_ids: Iterable[int]) -> bytes:
    return DELETE_ENTRIES % listed(first_ids)


def lease_entries(first_ids: Iterable[int], lease_seconds: float) -> bytes:
    return LEASE % (microseconds(lease_seconds), listed(first_ids))


def read_entries(first_ids: Iterable[int]) -> bytes:
    return READ_ENTRIES % listed(first_ids)


def read_keys(batch: Batch) -> bytes:
    """Asks for all but the payloads of the batch's rows; see `keys_of`."""
    return READ_KEYS % listed(batch.ids)


def keys_of(batch: Batch) -> list[tuple[int, str, str, str]]:
    """What `read_keys` finds when the rows are the batch's own."""
    created = _created(batch.created_us)
    return [(i, event.call_id, event.event_type, created) for i, event in zip(batch.ids, batch.events, strict=True)]


def add_token(token: Token) -> bytes:
    created = created_literal(token.created_us)
    expires = b"NULL" if token.expires_us is None else created_literal(token.expires_us)
    limits = (b"NULL" if limit is None else b"%d" % limit for limit in (token.events_per_second, token.burst))
    return ADD_TOKEN % (token.digest.hex().encode(), quoted(token.name.encode()), created, expires, *limits)


def expire_tokens(digests: Iterable[bytes], expires_us: int) -> bytes:
    return EXPIRE_TOKENS % (created_literal(expires_us), created_literal(expires_us), _hex_listed(digests))


def remove_tokens(digests: Iterable[bytes]) -> bytes:
    return REMOVE_TOKENS % _hex_listed(digests)


def _hex_listed(values: Iterable[bytes]) -> bytes:
    return b",".join(b"x'%b'" % value.hex().encode() for value in values)


def listed(first_ids: Iterable[int]) -> bytes:
    return b",".join(b"%d" % first_id for first_id in first_ids)
