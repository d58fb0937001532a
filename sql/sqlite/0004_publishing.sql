-- Dead letters: events that the broker always refuses, with the reason. They are stored in call_event_logs, but never
-- published. batch is packed as in ingest_outbox.
CREATE TABLE ingest_dead_letters (
    event_id  INTEGER NOT NULL PRIMARY KEY,
    reason    TEXT    NOT NULL,
    died_time TEXT    NOT NULL,
    batch     BLOB    NOT NULL
);
