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
