"""Idempotency keys in a SQLite table, of the store or of the spool."""

import sqlite3

from ingest.errors import DuplicateKeys
from ingest.events.batch import Batch, duplicate_keys_in
from ingest.events.idempotency import digest_of, fingerprint_of

HELD_KEY = "SELECT digest, fingerprint, event_id FROM {} WHERE digest = ?"
KEEP_KEY = "INSERT INTO {} (digest, fingerprint, event_id) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING"


def keep_keys(connection: sqlite3.Connection, table: str, batch: Batch) -> None:
    """Insert the keys of the batch's events in a table (digest, fingerprint, event_id). Raises `DuplicateKeys`."""
    keys = {digest_of(key): (fingerprint_of(key), i) for i, key in batch.keyed()}
    held = [row for digest in keys for row in connection.execute(HELD_KEY.format(table), (digest,))]
    if same := duplicate_keys_in(batch, held):
        raise DuplicateKeys(same)
    rows = [(digest, *values) for digest, values in keys.items()]
    connection.executemany(KEEP_KEY.format(table), rows)
