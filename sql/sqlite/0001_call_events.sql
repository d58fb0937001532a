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
CREATE TABLE ingest_slots (
    slot        INTEGER NOT NULL PRIMARY KEY,
    node        TEXT    NOT NULL,
    lease_until INTEGER NOT NULL,
    floor_ms    INTEGER NOT NULL
);
