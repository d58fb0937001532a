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
