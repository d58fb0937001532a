"""Reads the rows of the table and the messages of the queue, for the comparison with the ledger."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
import pymysql

from ingest.broker.embedded import FILE_NAME
from ingest.events.ids import ID_MAX, IdGenerator
from ingest.spool.inspection import contents
from tests.faults.harness.ledger import Message, Row
from tests.services import wait_until
from tests.services.mysql import NO_TLS

ROWS = "SELECT id, call_id FROM call_event_logs"
ROWS_COUNT = "SELECT COUNT(*) FROM call_event_logs"
PAYLOADS = "SELECT payload FROM call_event_logs ORDER BY id"
BACKLOG = "SELECT COALESCE(SUM(count), 0) FROM ingest_outbox WHERE first_id < {before}"
MESSAGES = "SELECT message_id, body FROM messages"
FILL_MESSAGES_MAX = 1000
QUIET_SECONDS = 0.25
COME_SECONDS = 60.0


def rows_of(database_url: str) -> list[Row]:
    return [(int(row_id), str(call_id)) for row_id, call_id in _query(database_url, ROWS)]


def count_rows(database_url: str) -> int:
    return int(_query(database_url, ROWS_COUNT)[0][0])


def payloads_of(database_url: str) -> list[str]:
    """Return the payloads in the order of their ids."""
    return [str(payload) for (payload,) in _query(database_url, PAYLOADS)]


def backlog_of(database_url: str, accepted_before_ms: int | None = None) -> int:
    """Count committed events that may be unpublished; optionally only those accepted before this Unix time."""
    before = ID_MAX if accepted_before_ms is None else first_id_at(accepted_before_ms)
    return int(_query(database_url, BACKLOG.format(before=before))[0][0])


def spooled(data_dir: Path) -> int:
    """Count the events in the spools of all workers."""
    return sum(spool.usage.events for spool in contents(data_dir / "spool"))


def first_id_at(unix_ms: int) -> int:
    """Return the largest possible id of the time before this Unix time."""
    return IdGenerator(0, lambda: unix_ms * 1000).take(1)[0]


def take_messages(amqp_url: str, queue: str) -> list[Message]:
    """Consume all messages of the queue, and acknowledge them: those that arrive as it ends go back to the queue.

    The queue is read to its end if its own count is zero, and nothing comes after that. A silence alone proves nothing.
    """
    with channel_to(amqp_url) as channel:
        messages: list[Message] = []
        empty = False
        while True:
            before = len(messages)
            for method, properties, body in channel.consume(queue, inactivity_timeout=QUIET_SECONDS):
                if method is None:
                    break
                messages.append((int(properties.message_id), body))
                channel.basic_ack(method.delivery_tag)
            if empty and len(messages) == before:
                channel.cancel()
                return messages
            empty = _is_empty(channel, queue)


def _is_empty(channel: Any, queue: str) -> bool:
    """Return True if no message waits. Then every message is here that the queue had sent before."""
    counts = [channel.queue_declare(queue, passive=True).method.message_count for _ in range(2)]
    return counts == [0, 0]


def await_messages(amqp_url: str, queue: str, count: int) -> list[Message]:
    """Consume until at least this number of messages has come; return them with all others that are there."""
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(take_messages(amqp_url, queue))
        return len(messages) >= count

    assert wait_until(enough, COME_SECONDS), f"{len(messages)} of {count} messages came"
    return messages


def embedded_messages(data_dir: Path) -> list[Message]:
    """Read the messages of the embedded queue, which stay there."""
    return [(int(message_id), bytes(body)) for message_id, body in _sqlite(data_dir / FILE_NAME, MESSAGES)]


def ids_of_calls(database_url: str, calls: Iterable[str]) -> list[tuple[str, int]]:
    """Return call and id of each event of these calls, in the order of the ids."""
    listed = ", ".join(f"'{call}'" for call in calls) or "NULL"
    sql = f"SELECT call_id, id FROM call_event_logs WHERE call_id IN ({listed}) ORDER BY id"
    return [(str(call), int(event_id)) for call, event_id in _query(database_url, sql)]


def declare_full_queue(amqp_url: str, queue: str, messages_max: int) -> None:
    """Declare a quorum queue that refuses messages when it holds `messages_max`."""
    arguments = {"x-queue-type": "quorum", "x-max-length": messages_max, "x-overflow": "reject-publish"}
    with channel_to(amqp_url) as channel:
        channel.queue_declare(queue, durable=True, arguments=arguments)


def fill_queue(amqp_url: str, queue: str) -> None:
    """Publish until the queue refuses a message: it takes a few above its limit when they come at once."""
    with channel_to(amqp_url) as channel:
        channel.confirm_delivery()
        try:
            for number in range(FILL_MESSAGES_MAX):
                channel.basic_publish("", queue, b"{}", pika.BasicProperties(message_id=str(number)))
        except pika.exceptions.NackError:
            return
    raise AssertionError(f"the queue has taken {FILL_MESSAGES_MAX} messages")


def delete_queue(amqp_url: str, queue: str) -> None:
    with channel_to(amqp_url) as channel:
        channel.queue_delete(queue)


def version_of(amqp_url: str) -> str:
    with channel_to(amqp_url) as channel:
        properties = channel.connection._impl.server_properties  # pika has no public access to it
    return f"{properties['product']} {properties['version']}"


def version_numbers(amqp_url: str) -> tuple[int, ...]:
    """Return the version's numbers, such as (3, 10)."""
    return tuple(map(int, version_of(amqp_url).split()[-1].split(".")[:2]))


@contextmanager
def channel_to(amqp_url: str) -> Iterator[Any]:
    """Open a channel on a new connection."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    try:
        yield connection.channel()
    finally:
        connection.close()


def _query(database_url: str, sql: str) -> list[Any]:
    parts = urlsplit(database_url)
    if parts.scheme == "sqlite":
        return _sqlite(Path(parts.path[1:]), sql)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path[1:],
        connect_timeout=30,
        read_timeout=30,
        ssl_disabled=NO_TLS,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def _sqlite(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()
