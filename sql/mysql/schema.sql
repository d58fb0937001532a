-- The events, as users query them. Ids are made by the service: no auto-increment.
CREATE TABLE IF NOT EXISTS call_event_logs (
    id           BIGINT       NOT NULL,
    call_id      VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    event_type   VARCHAR(64)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    payload      JSON         NOT NULL,
    created_time DATETIME(6)  NOT NULL,
    PRIMARY KEY (id),
    KEY call_event_logs_call_id (call_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Committed batches that are not yet known to be published: one row a batch, written in the same
-- transaction as its events. lease_until is UTC; an entry whose lease ran out is the relay's. batch
-- holds the events packed, as received: JSON columns do not keep their bytes.
CREATE TABLE IF NOT EXISTS ingest_outbox (
    first_id    BIGINT      NOT NULL,
    count       INT         NOT NULL,
    lease_until DATETIME(6) NOT NULL,
    attempts    INT         NOT NULL DEFAULT 0,
    batch       LONGBLOB    NOT NULL,
    PRIMARY KEY (first_id),
    KEY ingest_outbox_lease_until (lease_until)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Which node makes ids with which slot, until when (UTC), and the newest id time known (Unix ms).
-- life is a random value of the worker's that holds it: whoever finds another one there has lost the slot.
CREATE TABLE IF NOT EXISTS ingest_slots (
    slot        SMALLINT    NOT NULL,
    node        CHAR(36)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    lease_until DATETIME(6) NOT NULL,
    floor_ms    BIGINT      NOT NULL,
    life        CHAR(32)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    PRIMARY KEY (slot)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Tokens that clients may send, by their SHA-256: several may have one name. Times are UTC; a token without
-- events_per_second has no limit of its own.
CREATE TABLE IF NOT EXISTS ingest_tokens (
    digest            BINARY(32)  NOT NULL,
    name              VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_time      DATETIME(6) NOT NULL,
    expires_time      DATETIME(6) NULL,
    events_per_second INT         NULL,
    burst             INT         NULL,
    PRIMARY KEY (digest)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Keys that tell a repeat, while they are remembered: a digest of the key, one of the event it was given to, and that
-- event's id, which tells the time. Written in the same transaction as the event.
CREATE TABLE IF NOT EXISTS ingest_keys (
    digest      BINARY(16)    NOT NULL,
    fingerprint VARBINARY(16) NOT NULL,
    event_id    BIGINT        NOT NULL,
    PRIMARY KEY (digest),
    KEY ingest_keys_event_id (event_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Whether events wait in the outbox that must reach a stream before newer ones of their calls do (row 1), and a row that
-- relays lock while they choose entries (row 2). Used with INGEST_PUBLISH_TO=stream only.
CREATE TABLE IF NOT EXISTS ingest_order (
    id     TINYINT NOT NULL,
    behind TINYINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT IGNORE INTO ingest_order (id, behind) VALUES (1, 0), (2, 0);

-- Events that the broker never takes, and why: in call_event_logs, but in no message. batch is packed as in ingest_outbox.
CREATE TABLE IF NOT EXISTS ingest_dead_letters (
    event_id  BIGINT       NOT NULL,
    reason    VARCHAR(255) NOT NULL,
    died_time DATETIME(6)  NOT NULL,
    batch     LONGBLOB     NOT NULL,
    PRIMARY KEY (event_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- What all who share this database must have alike: where events are published to. worker is one life of a worker, or
-- '', whose row has what all agreed on. settings is JSON, '' before anybody has told; seen_time is UTC.
CREATE TABLE IF NOT EXISTS ingest_cluster_settings (
    worker    VARCHAR(36)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    node      VARCHAR(255)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    settings  VARCHAR(2048) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    seen_time DATETIME(6)   NOT NULL,
    PRIMARY KEY (worker)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT IGNORE INTO ingest_cluster_settings (worker, node, settings, seen_time) VALUES ('', '', '', UTC_TIMESTAMP(6));
