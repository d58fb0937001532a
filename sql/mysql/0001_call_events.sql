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
CREATE TABLE IF NOT EXISTS ingest_slots (
    slot        SMALLINT    NOT NULL,
    node        CHAR(36)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    lease_until DATETIME(6) NOT NULL,
    floor_ms    BIGINT      NOT NULL,
    PRIMARY KEY (slot)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
