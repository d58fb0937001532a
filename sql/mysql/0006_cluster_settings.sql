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
