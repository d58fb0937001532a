-- Tokens of clients, by their SHA-256. Several tokens may have the same name. Times are UTC. A token without
-- events_per_second has no rate limit.
CREATE TABLE IF NOT EXISTS ingest_tokens (
    digest            BINARY(32)  NOT NULL,
    name              VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_time      DATETIME(6) NOT NULL,
    expires_time      DATETIME(6) NULL,
    events_per_second INT         NULL,
    burst             INT         NULL,
    PRIMARY KEY (digest)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
