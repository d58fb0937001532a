-- The events, as users query them. Ids are made by the service: no auto-increment.
CREATE TABLE call_event_logs (
    id           INTEGER NOT NULL PRIMARY KEY,
    call_id      TEXT    NOT NULL,
    event_type   TEXT    NOT NULL,
    payload      JSON    NOT NULL,
    created_time TEXT    NOT NULL
);
CREATE INDEX call_event_logs_call_id ON call_event_logs (call_id);

-- Committed batches that are not yet known to be published: one row a batch, written in the same
-- transaction as its events. lease_until is Unix ms; an entry whose lease ran out is the relay's.
-- batch holds the events packed, as received.
CREATE TABLE ingest_outbox (
    first_id    INTEGER NOT NULL PRIMARY KEY,
    count       INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    batch       BLOB    NOT NULL
);
CREATE INDEX ingest_outbox_lease_until ON ingest_outbox (lease_until);

-- Which node makes ids with which slot, until when (Unix ms), and the newest id time known (Unix ms).
-- life is a random value of the worker's that holds it: whoever finds another one there has lost the slot.
CREATE TABLE ingest_slots (
    slot        INTEGER NOT NULL PRIMARY KEY,
    node        TEXT    NOT NULL,
    lease_until INTEGER NOT NULL,
    floor_ms    INTEGER NOT NULL,
    life        TEXT    NOT NULL DEFAULT ''
);

-- Tokens that clients may send, by their SHA-256: several may have one name. Times are UTC, as in call_event_logs;
-- a token without events_per_second has no limit of its own.
CREATE TABLE ingest_tokens (
    digest            BLOB    NOT NULL PRIMARY KEY,
    name              TEXT    NOT NULL,
    created_time      TEXT    NOT NULL,
    expires_time      TEXT,
    events_per_second INTEGER,
    burst             INTEGER
);

-- Keys that tell a repeat, while they are remembered: a digest of the key, one of the event it was given to, and that
-- event's id, which tells the time. Written in the same transaction as the event.
CREATE TABLE ingest_keys (
    digest      BLOB    NOT NULL PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    event_id    INTEGER NOT NULL
);
CREATE INDEX ingest_keys_event_id ON ingest_keys (event_id);

-- Events that the broker never takes, and why: in call_event_logs, but in no message. batch is packed as in ingest_outbox.
CREATE TABLE ingest_dead_letters (
    event_id  INTEGER NOT NULL PRIMARY KEY,
    reason    TEXT    NOT NULL,
    died_time TEXT    NOT NULL,
    batch     BLOB    NOT NULL
);

-- As on MySQL, where several nodes share a database. SQLite's is one node's: nobody writes here.
CREATE TABLE ingest_cluster_settings (
    worker    TEXT NOT NULL PRIMARY KEY,
    node      TEXT NOT NULL,
    settings  TEXT NOT NULL,
    seen_time TEXT NOT NULL
);
