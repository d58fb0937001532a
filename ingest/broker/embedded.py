"""The embedded queue: a SQLite file beside the database, to try the service without a broker.

Publishing is durable and idempotent by message id: a batch that is published twice is in the queue once. `ingest tail`
consumes the messages.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ingest.broker.base import Held, Priority, not_held
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch
from ingest.events.ids import milliseconds_of
from ingest.sqlite import Database, connect, transact

TABLE = """CREATE TABLE IF NOT EXISTS messages (
    message_id INTEGER NOT NULL PRIMARY KEY, type TEXT NOT NULL, timestamp INTEGER NOT NULL, body BLOB NOT NULL)"""
PUBLISH = "INSERT OR IGNORE INTO messages (message_id, type, timestamp, body) VALUES (?, ?, ?, ?)"
COUNT = "SELECT COUNT(*) FROM messages"
OLDEST = "SELECT message_id, type, timestamp, body FROM messages ORDER BY message_id LIMIT ?"
AFTER = "SELECT message_id, type, timestamp, body FROM messages WHERE message_id > ? ORDER BY message_id LIMIT ?"
NEWEST = "SELECT COALESCE(MAX(message_id), 0) FROM messages"
IDS = "SELECT message_id FROM messages ORDER BY message_id"
ONE = "SELECT message_id, type, timestamp, body FROM messages WHERE message_id = ?"
ACKNOWLEDGE = "DELETE FROM messages WHERE message_id = ?"
FILE_NAME = "embedded-queue.db"


class Message(msgspec.Struct, frozen=True):
    """A message of the embedded queue; `timestamp` is Unix time in seconds."""

    message_id: int
    type: str
    timestamp: int
    body: bytes


class EmbeddedQueue:
    """The queue's file, as `ingest tail` uses it. Every call blocks, and raises `sqlite3.Error`."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self._connection = connect(path, timeout_seconds)
        self._connection.execute(TABLE)

    def publish(self, messages: list[Message], events_max: int) -> bool:
        """Add all messages durably. Return False without adding any if the queue is full."""
        return transact(self._connection, lambda connection: publish(connection, messages, events_max))

    def oldest(self, limit: int) -> list[Message]:
        return [Message(*row) for row in self._connection.execute(OLDEST, (limit,))]

    def ids(self) -> list[int]:
        """Return the ids of all messages, lowest first."""
        return [row[0] for row in self._connection.execute(IDS)]

    def messages(self, ids: Iterable[int]) -> list[Message]:
        """Return the messages with these ids, except those that were acknowledged meanwhile."""
        return [Message(*row) for message_id in ids for row in self._connection.execute(ONE, (message_id,))]

    def after(self, message_id: int, limit: int) -> list[Message]:
        """Return the next messages above this id."""
        return [Message(*row) for row in self._connection.execute(AFTER, (message_id, limit))]

    def newest_id(self) -> int:
        """Return the largest id, or 0 if the queue is empty."""
        return int(self._connection.execute(NEWEST).fetchone()[0])

    def erase(self, ids: Iterable[int]) -> None:
        """Delete these messages, and overwrite their bytes in the file."""
        self._connection.execute("PRAGMA secure_delete = ON")
        rows = [(message_id,) for message_id in ids]
        transact(self._connection, lambda connection: connection.executemany(ACKNOWLEDGE, rows))
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def acknowledge(self, message: Message) -> None:
        self._connection.execute(ACKNOWLEDGE, (message.message_id,))

    def close(self) -> None:
        self._connection.close()


def publish(connection: sqlite3.Connection, messages: list[Message], events_max: int) -> bool:
    """See `EmbeddedQueue.publish`. The caller opens the transaction."""
    if connection.execute(COUNT).fetchone()[0] + len(messages) > events_max:
        return False
    connection.executemany(PUBLISH, [msgspec.structs.astuple(message) for message in messages])
    return True


class EmbeddedPublisher:
    """See `ingest.broker.base.Publisher`."""

    def __init__(self, path: Path, held: Held = not_held, *, events_max: int, timeout_seconds: float) -> None:
        self._database = Database(path, timeout_seconds, lambda connection: connection.execute(TABLE))
        self._events_max = events_max
        self._held = held
        self._problem: str | None = None
        self._closed = False

    @property
    def ready(self) -> bool:
        """True even if the queue is full, because consumers make room at any time."""
        return not self._closed and not self._held()

    @property
    def problem(self) -> str | None:
        return self._held() or self._problem

    async def blocked(self) -> bool:
        return False

    async def start(self) -> None:
        pass  # the first use opens the file, in its own thread

    async def close(self) -> None:
        self._closed = True
        self._problem = "The embedded queue is closed."
        await self._database.close()

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        if held := self._held():
            raise BrokerUnavailable(held)
        messages = [
            Message(event_id, event.event_type, milliseconds_of(event_id) // 1000, event.payload)
            for event_id, event in zip(batch.ids, batch.events, strict=True)
        ]
        try:
            added = await self._database.transact(lambda connection: publish(connection, messages, self._events_max))
        except (sqlite3.Error, OSError) as exc:
            self._problem = f"The embedded queue failed: {exc}"
            raise BrokerUnavailable(self._problem) from exc
        self._problem = None if added else f"The embedded queue is full ({self._events_max} messages)."
        if self._problem:
            raise BrokerUnavailable(f"{self._problem} `ingest tail` consumes its messages.")
