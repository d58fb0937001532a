-- Keys that tell a repeat, while they are remembered: a digest of the key, one of the event it was given to, and that
-- event's id, which tells the time. Written in the same transaction as the event.
CREATE TABLE IF NOT EXISTS ingest_keys (
    digest      BINARY(16)    NOT NULL,
    fingerprint VARBINARY(16) NOT NULL,
    event_id    BIGINT        NOT NULL,
    PRIMARY KEY (digest),
    KEY ingest_keys_event_id (event_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
