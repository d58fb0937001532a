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
