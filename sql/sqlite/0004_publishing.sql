-- Events that the broker never takes, and why: in call_event_logs, but in no message. batch is packed as in ingest_outbox.
CREATE TABLE ingest_dead_letters (
    event_id  INTEGER NOT NULL PRIMARY KEY,
    reason    TEXT    NOT NULL,
    died_time TEXT    NOT NULL,
    batch     BLOB    NOT NULL
);
