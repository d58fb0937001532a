-- Idempotency keys, until they expire: a digest of the key, a digest of its event, and the event's id, which holds the
-- time. A key is written in the same transaction as its event.
CREATE TABLE IF NOT EXISTS ingest_keys (
    digest      BINARY(16)    NOT NULL,
    fingerprint VARBINARY(16) NOT NULL,
    event_id    BIGINT        NOT NULL,
    PRIMARY KEY (digest),
    KEY ingest_keys_event_id (event_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
