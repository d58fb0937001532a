-- Tokens of clients, by their SHA-256. Several tokens may have the same name. Times are UTC, as in call_event_logs.
-- A token without events_per_second has no rate limit.
CREATE TABLE ingest_tokens (
    digest            BLOB    NOT NULL PRIMARY KEY,
    name              TEXT    NOT NULL,
    created_time      TEXT    NOT NULL,
    expires_time      TEXT,
    events_per_second INTEGER,
    burst             INTEGER
);
