-- Same as on MySQL, where several nodes share a database. A SQLite file has one node, so nothing writes here.
CREATE TABLE ingest_cluster_settings (
    worker    TEXT NOT NULL PRIMARY KEY,
    node      TEXT NOT NULL,
    settings  TEXT NOT NULL,
    seen_time TEXT NOT NULL
);
