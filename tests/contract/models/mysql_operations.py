"""Random statements of several sessions on a few rows, so that they often meet."""

from collections.abc import Callable, Sequence
from random import Random

IDS = range(1, 7)
FILLING, FILLING_ROWS = 1000, 500
"""The first id of the rows that fill the outbox. The server would read and lock all rows of a small table."""
DIGESTS = tuple(b"x'%032x'" % number for number in range(1, 5))
BEGIN_SHARE = 0.15
END_SHARE = 0.3

Statement = Callable[[Random], bytes]


def ids(random: Random, most: int = 3) -> bytes:
    return b",".join(b"%d" % one for one in random.sample(IDS, random.randint(1, most)))


def entry(number: int) -> bytes:
    return b"(%d,1,'2030-01-01 00:00:00.000000',_binary'a\\'b')" % number


def insert_entries(random: Random) -> bytes:
    rows = b",".join(map(entry, random.sample(IDS, random.randint(1, 3))))
    return b"INSERT INTO ingest_outbox (first_id, count, lease_until, batch) VALUES " + rows


def insert_keys(random: Random) -> bytes:
    digests = sorted(random.sample(DIGESTS, random.randint(1, 3)))
    rows = b",".join(b"(%b,x'00ff',%d)" % (digest, random.choice(IDS)) for digest in digests)
    return b"INSERT INTO ingest_keys (digest, fingerprint, event_id) VALUES " + rows


def insert_letters(random: Random) -> bytes:
    rows = (b"(%d,'why',UTC_TIMESTAMP(6),_binary'x')" % one for one in random.sample(IDS, random.randint(1, 3)))
    return b"INSERT IGNORE INTO ingest_dead_letters (event_id, reason, died_time, batch) VALUES " + b",".join(rows)


def insert_from_letters(random: Random) -> bytes:
    return (
        b"INSERT INTO ingest_outbox (first_id, count, lease_until, batch) "
        b"SELECT event_id, 1, UTC_TIMESTAMP(6), batch FROM ingest_dead_letters WHERE event_id IN (%b)" % ids(random)
    )


def record_worker(random: Random) -> bytes:
    worker = random.choice((b"one", b"two"))
    return (
        b"INSERT INTO ingest_cluster_settings (worker, node, settings, seen_time) VALUES ('%b', 'n%d', '', "
        b"'2030-01-01 00:00:00.000000') ON DUPLICATE KEY UPDATE node = VALUES(node)" % (worker, random.randint(1, 3))
    )


def update_entries(random: Random) -> bytes:
    return b"UPDATE ingest_outbox SET attempts = GREATEST(attempts, 0) + 1 WHERE first_id IN (%b)" % ids(random)


def delete_entries(random: Random) -> bytes:
    return b"DELETE FROM ingest_outbox WHERE first_id IN (%b)" % ids(random)


def lock_entry(random: Random) -> bytes:
    how = random.choice((b"FOR UPDATE", b"LOCK IN SHARE MODE"))
    return b"SELECT first_id, attempts FROM ingest_outbox WHERE first_id = %d %b" % (random.choice(IDS), how)


def skip_locked(random: Random) -> bytes:
    return b"SELECT first_id FROM ingest_outbox ORDER BY first_id LIMIT %d FOR UPDATE SKIP LOCKED" % random.randint(
        1, 3
    )


def lock_order(random: Random) -> bytes:
    how = random.choice((b"FOR UPDATE", b"LOCK IN SHARE MODE", b"LOCK IN SHARE MODE"))
    return b"SELECT behind FROM ingest_order WHERE id = %d %b" % (random.randint(1, 2), how)


def set_order(random: Random) -> bytes:
    return b"UPDATE ingest_order SET behind = %d WHERE id = %d" % (random.randint(0, 1), random.randint(1, 2))


def read(random: Random) -> bytes:
    return random.choice(
        (
            b"SELECT first_id, count, attempts, batch FROM ingest_outbox WHERE first_id < %d ORDER BY first_id"
            % FILLING,
            b"SELECT digest, fingerprint, event_id FROM ingest_keys ORDER BY digest",
            b"SELECT COALESCE(SUM(count), 0), MIN(first_id), COUNT(*) FROM (SELECT first_id, count FROM ingest_outbox "
            b"ORDER BY first_id LIMIT 3) AS oldest",
            b"SELECT worker, node FROM ingest_cluster_settings ORDER BY worker",
            b"SELECT event_id, reason, batch FROM ingest_dead_letters WHERE event_id > 2 ORDER BY event_id LIMIT 2",
        )
    )


def commit_at_once(random: Random) -> bytes:
    """The service's commit is like this one: all statements in one query."""
    return b";".join((insert_keys(random), insert_entries(random), delete_entries(random), b"COMMIT"))


STATEMENTS: Sequence[Statement] = (
    *(insert_entries, insert_entries, insert_keys, insert_letters, insert_from_letters, record_worker),
    *(update_entries, update_entries, delete_entries, delete_entries, lock_entry, lock_entry, skip_locked),
    *(lock_order, set_order, read, read, commit_at_once),
)


def fill() -> bytes:
    rows = b",".join(map(entry, range(FILLING, FILLING + FILLING_ROWS)))
    return b"INSERT INTO ingest_outbox (first_id, count, lease_until, batch) VALUES " + rows


def any_statement(random: Random) -> bytes:
    share = random.random()
    if share < BEGIN_SHARE:
        return b"BEGIN"
    if share < END_SHARE:
        return random.choice((b"COMMIT", b"COMMIT", b"ROLLBACK"))
    return random.choice(STATEMENTS)(random)
