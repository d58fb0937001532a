-- Idempotency keys, until they expire: a digest of the key, a digest of its event, and the event's id, which holds the
-- time. A key is written in the same transaction as its event.
CREATE TABLE ingest_keys (
    digest      BLOB    NOT NULL PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    event_id    INTEGER NOT NULL
);
CREATE INDEX ingest_keys_event_id ON ingest_keys (event_id);
