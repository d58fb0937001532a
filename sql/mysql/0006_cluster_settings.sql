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
