-- The events, as users query them. The service makes the ids, so there is no auto-increment.
CREATE TABLE call_event_logs (
    id           INTEGER NOT NULL PRIMARY KEY,
    call_id      TEXT    NOT NULL,
    event_type   TEXT    NOT NULL,
    payload      JSON    NOT NULL,
    created_time TEXT    NOT NULL
);
CREATE INDEX call_event_logs_call_id ON call_event_logs (call_id);

-- Committed batches that are not yet known to be published: one row a batch, written in the same
-- transaction as its events. lease_until is Unix ms. When the lease ends, a relay may claim the
-- entry. batch holds the events packed, as received.
CREATE TABLE ingest_outbox (
    first_id    INTEGER NOT NULL PRIMARY KEY,
    count       INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    batch       BLOB    NOT NULL
);
CREATE INDEX ingest_outbox_lease_until ON ingest_outbox (lease_until);

-- Id slots: a node makes ids with its slot until lease_until. floor_ms is the time of the last id known. Both are
-- Unix ms.
-- life is a random value of the worker that holds the slot. A worker that finds another value has lost the slot.
CREATE TABLE ingest_slots (
    slot        INTEGER NOT NULL PRIMARY KEY,
    node        TEXT    NOT NULL,
    lease_until INTEGER NOT NULL,
    floor_ms    INTEGER NOT NULL,
    life        TEXT    NOT NULL DEFAULT ''
);

-- Tokens of clients, by their SHA-256. Several tokens may have the same name. Times are UTC, as in call_event_logs.
-- A token without events_per_second has no rate limit.
-- scope says what a token may do: post, or some of read, read-numbers and operate, separated by commas.
CREATE TABLE ingest_tokens (
    digest            BLOB    NOT NULL PRIMARY KEY,
    name              TEXT    NOT NULL,
    created_time      TEXT    NOT NULL,
    expires_time      TEXT,
    events_per_second INTEGER,
    burst             INTEGER,
    scope             TEXT    NOT NULL DEFAULT 'post'
);

-- Idempotency keys, until they expire: a digest of the key, a digest of its event, and the event's id, which holds the
-- time. A key is written in the same transaction as its event.
CREATE TABLE ingest_keys (
    digest      BLOB    NOT NULL PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    event_id    INTEGER NOT NULL
);
CREATE INDEX ingest_keys_event_id ON ingest_keys (event_id);

-- Dead letters: events that the broker always refuses, with the reason. They are stored in call_event_logs, but never
-- published. batch is packed as in ingest_outbox.
CREATE TABLE ingest_dead_letters (
    event_id  INTEGER NOT NULL PRIMARY KEY,
    reason    TEXT    NOT NULL,
    died_time TEXT    NOT NULL,
    batch     BLOB    NOT NULL
);

-- Same as on MySQL, where several nodes share a database. A SQLite file has one node, so nothing writes here.
CREATE TABLE ingest_cluster_settings (
    worker    TEXT NOT NULL PRIMARY KEY,
    node      TEXT NOT NULL,
    settings  TEXT NOT NULL,
    seen_time TEXT NOT NULL
);

-- The audit trail: what operators asked for, written before it is done. details is JSON. Times are UTC. id holds the
-- time, and a random number. The service deletes rows after INGEST_AUDIT_DAYS.
CREATE TABLE ingest_audit (
    id           INTEGER NOT NULL PRIMARY KEY,
    audited_time TEXT    NOT NULL,
    actor        TEXT    NOT NULL,
    origin       TEXT    NOT NULL,
    action       TEXT    NOT NULL,
    details      JSON    NOT NULL
);
