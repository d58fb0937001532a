"""The tables and jobs of the Laravel original, as its migrations and its queue write them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.contract.store.stores import MySQL

JOB = "App\\Jobs\\SendCallEventToRabbitJob"
EVENTS_TABLE = """CREATE TABLE call_event_logs (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, call_id VARCHAR(255) NULL,
    event_type ENUM('call_started', 'call_answered', 'call_ended') NOT NULL, payload {payload} NULL,
    created_time TIMESTAMP NULL DEFAULT NULL, note VARCHAR(20) NULL
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci"""
JOBS_TABLE = """CREATE TABLE jobs (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, queue VARCHAR(255) NOT NULL, payload LONGTEXT NOT NULL,
    attempts TINYINT UNSIGNED NOT NULL, reserved_at INT UNSIGNED NULL, available_at INT UNSIGNED NOT NULL,
    created_at INT UNSIGNED NOT NULL, KEY jobs_queue_index (queue)
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci"""
FAILED_TABLE = """CREATE TABLE failed_jobs (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, uuid VARCHAR(255) NOT NULL, connection TEXT NOT NULL,
    queue TEXT NOT NULL, payload LONGTEXT NOT NULL, exception LONGTEXT NOT NULL,
    failed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, UNIQUE KEY failed_jobs_uuid_unique (uuid)
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci"""


def php(value: object) -> str:
    """The text that PHP's `serialize` writes."""
    if value is None:
        return "N;"
    if isinstance(value, bool):
        return f"b:{int(value)};"
    if isinstance(value, int):
        return f"i:{value};"
    if isinstance(value, str):
        return f's:{len(value.encode())}:"{value}";'
    assert isinstance(value, dict)
    return f"a:{len(value)}:{{{''.join(php(key) + php(one) for key, one in value.items())}}}"


def php_object(name: str, fields: Mapping[str, str]) -> str:
    """`fields` are serialized already."""
    inside = "".join(php(field) + value for field, value in fields.items())
    return f'O:{len(name)}:"{name}":{len(fields)}:{{{inside}}}'


def model(row_id: int) -> str:
    """The object that `SerializesModels` keeps of a row."""
    fields = {"class": "App\\Models\\CallEventLog", "id": row_id, "relations": {}, "connection": "mysql"}
    identifier = "Illuminate\\Contracts\\Database\\ModelIdentifier"
    return php_object(identifier, {name: php(value) for name, value in fields.items()})


def queued(fields: Mapping[str, str], name: str = JOB) -> str:
    """The `payload` of a job with these properties, which are serialized already."""
    command = php_object(name, {**fields, "queue": php("call-events")})
    data = {"commandName": name, "command": command}
    return json.dumps(
        {"uuid": "u", "displayName": name, "job": "Illuminate\\Queue\\CallQueuedHandler@call", "data": data}
    )


class Original:
    """A database as the original leaves it. `payload` is the type of that column."""

    def __init__(self, database: MySQL, payload: str = "JSON") -> None:
        self.database = database
        self._payload = payload
        self.make()

    def make(self) -> None:
        for table in (EVENTS_TABLE.format(payload=self._payload), JOBS_TABLE, FAILED_TABLE):
            self.database.query(table)

    def forget(self) -> None:
        """Drop all that the original and an adoption have made, and make empty tables of the original."""
        made = [name for (name,) in self.database.query("SHOW TABLES") if not name.startswith("ingest_")]
        kept = {name for (name,) in self.database.query("SHOW TABLES LIKE 'ingest_adopted%'")}
        self.database.query(f"DROP TABLE {', '.join({*made, *kept})}")
        for table in ("ingest_outbox", "ingest_dead_letters", "ingest_slots"):
            self.database.query(f"DELETE FROM {table}")
        self.make()

    def add_rows(self, events: Sequence[tuple[Mapping[str, Any], str]]) -> None:
        """Each event has its `created_time` as an SQL expression."""
        rows = (
            f"({_quoted(event['call_id'])}, {_quoted(event['event_type'])}, {_quoted(json.dumps(event))}, {created})"
            for event, created in events
        )
        columns = "call_id, event_type, payload, created_time"
        self.database.query(f"INSERT INTO call_event_logs ({columns}) VALUES {', '.join(rows)}")

    def add_jobs(self, payloads: Sequence[str], reserved: str = "NULL") -> None:
        """`reserved` is the Unix time at which a worker of Laravel took them, as an SQL expression."""
        now = "UNIX_TIMESTAMP()"
        rows = (f"('call-events', {_quoted(payload)}, 0, {reserved}, {now}, {now})" for payload in payloads)
        columns = "queue, payload, attempts, reserved_at, available_at, created_at"
        self.database.query(f"INSERT INTO jobs ({columns}) VALUES {', '.join(rows)}")

    def add_failed_jobs(self, payloads: Sequence[str], exception: str) -> None:
        rows = (
            f"(UUID(), 'database', 'call-events', {_quoted(payload)}, {_quoted(exception)})" for payload in payloads
        )
        columns = "uuid, connection, queue, payload, exception"
        self.database.query(f"INSERT INTO failed_jobs ({columns}) VALUES {', '.join(rows)}")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
