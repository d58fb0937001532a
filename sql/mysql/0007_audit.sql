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
