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
