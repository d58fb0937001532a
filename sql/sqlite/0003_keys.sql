-- Keys that tell a repeat, while they are remembered: a digest of the key, one of the event it was given to, and that
-- event's id, which tells the time. Written in the same transaction as the event.
CREATE TABLE ingest_keys (
    digest      BLOB    NOT NULL PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    event_id    INTEGER NOT NULL
);
CREATE INDEX ingest_keys_event_id ON ingest_keys (event_id);
