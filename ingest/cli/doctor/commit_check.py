"""Writes to MySQL as the service does, and rolls all of it back; and compares MySQL's limits with the settings."""

from collections.abc import Mapping
from contextlib import suppress

from ingest.cli.doctor.finding import Check
from ingest.cli.doctor.hints import database_hint
from ingest.cli.doctor.unused_id import unused_id
from ingest.errors import SchemaError, StoreError
from ingest.settings import Settings
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.pool import Servers

INSERT = (
    b"INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) "
    b"VALUES (%d, 'ingest doctor', 'doctor', '{}', UTC_TIMESTAMP(6))"
)
FIND = b"SELECT call_id FROM call_event_logs WHERE id = %d"
DELETE = b"DELETE FROM call_event_logs WHERE id = %d"
EVENTS = b"call_event_logs"
OWN_TABLES = (
    *(b"ingest_outbox", b"ingest_slots", b"ingest_tokens", b"ingest_keys", b"ingest_order", b"ingest_dead_letters"),
    *(b"ingest_cluster_settings", b"ingest_audit"),
)
RIGHTS = (
    b"SELECT 1 FROM %b WHERE 1 = 0",
    b"INSERT INTO %b SELECT * FROM %b WHERE 1 = 0",
    b"DELETE FROM %b WHERE 1 = 0",
)
UPDATES = (
    b"UPDATE ingest_outbox SET attempts = attempts WHERE 1 = 0",
    b"UPDATE ingest_slots SET floor_ms = floor_ms WHERE 1 = 0",
    b"UPDATE ingest_order SET behind = behind WHERE 1 = 0",
)
"""The server checks the right of each statement, which changes no row."""
LIMITS = b"SELECT @@max_allowed_packet, @@max_connections"
PACKET_FACTOR = 4
"""Escapes may double a batch, and the statement holds it twice: as rows, and in the outbox."""
OTHER_CONNECTIONS = 3
"""Connections of a worker beside those for commits."""


def commit_checks() -> Mapping[str, Check]:
    return {"commit": _commit, "limits": _limits}


async def _connect(settings: Settings, *, autocommit: bool = True) -> Connection:
    servers = Servers.parse(settings.database_url)
    return await servers.connect(settings.connect_timeout_seconds, autocommit=autocommit)


async def _commit(settings: Settings) -> str:
    connection = await _connect(settings, autocommit=False)
    try:
        await _try_rights(connection)
        await _try_row(connection)
    except SchemaError:
        return "not tried: the tables are missing or old"
    except StoreError as exc:
        hint = database_hint(str(exc), settings.database_url)
        raise StoreError(f"A statement like the service's fails: {exc} {hint}".rstrip()) from exc
    finally:
        with suppress(StoreError):  # the end of the connection rolls back, too
            await connection.run(b"ROLLBACK")
        await connection.end()
    return "a row was inserted and rolled back"


async def _try_rights(connection: Connection) -> None:
    for table in (EVENTS, *OWN_TABLES):
        for statement in RIGHTS:
            await connection.run(statement.replace(b"%b", table))
    for statement in UPDATES:
        await connection.run(statement)


async def _try_row(connection: Connection) -> None:
    event_id = unused_id()
    await connection.run(INSERT % event_id)
    if not await connection.run(FIND % event_id):
        raise StoreError("The database does not return a row that was just inserted.")
    await connection.run(DELETE % event_id)


async def _limits(settings: Settings) -> str:
    connection = await _connect(settings)
    try:
        ((packet_bytes, connections),) = await connection.run(LIMITS)
    finally:
        await connection.end()
    return limits_text(settings, int(packet_bytes), int(connections))


def limits_text(settings: Settings, packet_bytes: int, connections: int) -> str:
    """Raises `StoreError` if a batch or an event does not fit, or if the workers need more connections."""
    for name in ("body_bytes_max", "batch_bytes_max"):
        least = PACKET_FACTOR * getattr(settings, name)
        if packet_bytes < least:
            raise StoreError(
                f"max_allowed_packet is {packet_bytes}: INGEST_{name.upper()}={getattr(settings, name)} needs {least}. "
                "Raise it on the server, or lower the setting."
            )
    needed = settings.workers * (settings.store_connections_max + OTHER_CONNECTIONS)
    if connections < needed:
        raise StoreError(
            f"max_connections is {connections}: INGEST_WORKERS={settings.workers} needs {needed} for this node. "
            "Raise it on the server."
        )
    return f"max_allowed_packet {packet_bytes} and max_connections {connections} are enough for this node"
