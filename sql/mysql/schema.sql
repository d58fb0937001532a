-- The events, as users query them. The service makes the ids, so there is no auto-increment.
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
-- transaction as its events. lease_until is UTC. When the lease ends, a relay may claim the entry.
-- batch holds the events packed, as received, because a JSON column does not keep their bytes.
CREATE TABLE IF NOT EXISTS ingest_outbox (
    first_id    BIGINT      NOT NULL,
    count       INT         NOT NULL,
    lease_until DATETIME(6) NOT NULL,
    attempts    INT         NOT NULL DEFAULT 0,
    batch       LONGBLOB    NOT NULL,
    PRIMARY KEY (first_id),
    KEY ingest_outbox_lease_until (lease_until)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Id slots: a node makes ids with its slot until lease_until (UTC). floor_ms is the time of the last id known, in
-- Unix ms.
-- life is a random value of the worker that holds the slot. A worker that finds another value has lost the slot.
CREATE TABLE IF NOT EXISTS ingest_slots (
    slot        SMALLINT    NOT NULL,
    node        CHAR(36)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    lease_until DATETIME(6) NOT NULL,
    floor_ms    BIGINT      NOT NULL,
    life        CHAR(32)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    PRIMARY KEY (slot)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Tokens of clients, by their SHA-256. Several tokens may have the same name. Times are UTC. A token without
-- events_per_second has no rate limit.
-- scope says what a token may do: post, or some of read, read-numbers and operate, separated by commas.
CREATE TABLE IF NOT EXISTS ingest_tokens (
    digest            BINARY(32)  NOT NULL,
    name              VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_time      DATETIME(6) NOT NULL,
    expires_time      DATETIME(6) NULL,
    events_per_second INT         NULL,
    burst             INT         NULL,
    scope             VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'post',
    PRIMARY KEY (digest)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Idempotency keys, until they expire: a digest of the key, a digest of its event, and the event's id, which holds the
-- time. A key is written in the same transaction as its event.
CREATE TABLE IF NOT EXISTS ingest_keys (
    digest      BINARY(16)    NOT NULL,
    fingerprint VARBINARY(16) NOT NULL,
    event_id    BIGINT        NOT NULL,
    PRIMARY KEY (digest),
    KEY ingest_keys_event_id (event_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Row 1: behind is 1 in relay mode, when older events in the outbox must reach a stream before newer ones of a call.
-- Row 2: relays lock it while they choose entries. Used with INGEST_PUBLISH_TO=stream only.
CREATE TABLE IF NOT EXISTS ingest_order (
    id     TINYINT NOT NULL,
    behind TINYINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT IGNORE INTO ingest_order (id, behind) VALUES (1, 0), (2, 0);

-- Dead letters: events that the broker always refuses, with the reason. They are stored in call_event_logs, but never
-- published. batch is packed as in ingest_outbox.
CREATE TABLE IF NOT EXISTS ingest_dead_letters (
    event_id  BIGINT       NOT NULL,
    reason    VARCHAR(255) NOT NULL,
    died_time DATETIME(6)  NOT NULL,
    batch     LONGBLOB     NOT NULL,
    PRIMARY KEY (event_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The target to which all workers of this database publish. worker names one run of a worker. The row '' has the
-- shared target. settings is JSON, or '' before the first worker. seen_time is UTC.
CREATE TABLE IF NOT EXISTS ingest_cluster_settings (
    worker    VARCHAR(36)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    node      VARCHAR(255)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    settings  VARCHAR(2048) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    seen_time DATETIME(6)   NOT NULL,
    PRIMARY KEY (worker)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT IGNORE INTO ingest_cluster_settings (worker, node, settings, seen_time) VALUES ('', '', '', UTC_TIMESTAMP(6));

-- The audit trail: what operators asked for, written before it is done. details is JSON. Times are UTC. id holds the
-- time, and a random number. The service deletes rows after INGEST_AUDIT_DAYS.
CREATE TABLE IF NOT EXISTS ingest_audit (
    id           BIGINT       NOT NULL,
    audited_time DATETIME(6)  NOT NULL,
    actor        VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    origin       VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    action       VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    details      JSON         NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
