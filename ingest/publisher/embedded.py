"""The embedded queue: a SQLite file beside the database, for trying the service without a broker.

Publishing is durable and idempotent by message id, so a batch published twice is there once.
`ingest tail` takes messages off it.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from ingest.batches import Batch
from ingest.errors import BrokerUnavailable
from ingest.ids import milliseconds_of
from ingest.publisher.base import Lane

T = TypeVar("T")

TABLE = """CREATE TABLE IF NOT EXISTS messages (
    message_id INTEGER NOT NULL PRIMARY KEY, type TEXT NOT NULL, timestamp INTEGER NOT NULL, body BLOB NOT NULL)"""
PUBLISH = "INSERT OR IGNORE INTO messages (message_id, type, timestamp, body) VALUES (?, ?, ?, ?)"
COUNT = "SELECT COUNT(*) FROM messages"
OLDEST = "SELECT message_id, type, timestamp, body FROM messages ORDER BY message_id LIMIT ?"
ACKNOWLEDGE = "DELETE FROM messages WHERE message_id = ?"
FILE_NAME = "embedded-queue.db"


class Message(msgspec.Struct, frozen=True):
    """A message of the embedded queue; `timestamp` is Unix time in seconds."""

    message_id: int
    type: str
    timestamp: int
    body: bytes


class EmbeddedQueue:
    """The queue's file; every call blocks and raises `sqlite3.Error`."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(TABLE)

    def publish(self, messages: list[Message], events_max: int) -> bool:
        """Add the messages, durably; False if the queue is full, and nothing was added."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute(COUNT).fetchone()[0] + len(messages) > events_max:
                connection.execute("ROLLBACK")
                return False
            connection.executemany(PUBLISH, [msgspec.structs.astuple(message) for message in messages])
            connection.execute("COMMIT")
            return True
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def oldest(self, limit: int) -> list[Message]:
        return [Message(*row) for row in self._connection.execute(OLDEST, (limit,))]

    def acknowledge(self, message: Message) -> None:
        self._connection.execute(ACKNOWLEDGE, (message.message_id,))

    def close(self) -> None:
        self._connection.close()


class EmbeddedPublisher:
    """See `ingest.publisher.base.Publisher`. One thread of its own runs every call, in order."""

    def __init__(self, path: Path, *, events_max: int, timeout_seconds: float) -> None:
        self._path = path
        self._events_max = events_max
        self._timeout_seconds = timeout_seconds
        self._queue: EmbeddedQueue | None = None
        self._problem: str | None = None
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "embedded-queue")

    @property
    def ready(self) -> bool:
        return self._thread is not None  # a full queue is found out by trying: consumers make room at any time

    @property
    def problem(self) -> str | None:
        return self._problem

    async def start(self) -> None:
        pass  # opens at first use, in its thread

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread:
            self._problem = "The embedded queue is closed."
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown(wait=False)

    async def publish(self, batch: Batch, lane: Lane = "live") -> None:
        messages = [
            Message(event_id, event.event_type, milliseconds_of(event_id) // 1000, event.payload)
            for event_id, event in zip(batch.ids, batch.events, strict=True)
        ]
        try:
            added = await self._run(lambda queue: queue.publish(messages, self._events_max))
        except (sqlite3.Error, OSError) as exc:
            self._problem = f"The embedded queue failed: {exc}"
            raise BrokerUnavailable(self._problem) from exc
        self._problem = None if added else f"The embedded queue is full ({self._events_max} messages)."
        if self._problem:
            raise BrokerUnavailable(f"{self._problem} `ingest tail` takes messages off it.")

    async def _run(self, work: Callable[[EmbeddedQueue], T]) -> T:
        if self._thread is None:
            raise BrokerUnavailable(self._problem)
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._opened()))

    def _opened(self) -> EmbeddedQueue:
        if self._queue is None:
            self._queue = EmbeddedQueue(self._path, self._timeout_seconds)
        return self._queue

    def _close(self) -> None:
        if self._queue is not None:
            self._queue.close()
            self._queue = None
