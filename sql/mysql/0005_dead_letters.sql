-- Events that the broker never takes, and why: in call_event_logs, but in no message. batch is packed as in ingest_outbox.
CREATE TABLE IF NOT EXISTS ingest_dead_letters (
    event_id  BIGINT       NOT NULL,
    reason    VARCHAR(255) NOT NULL,
    died_time DATETIME(6)  NOT NULL,
    batch     LONGBLOB     NOT NULL,
    PRIMARY KEY (event_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
