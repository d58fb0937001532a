"""The port of an erasure to the database. The stores implement it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ingest.events.batch import Batch


class StoredEvent(NamedTuple):
    """A row of `call_event_logs`. `payload` is the JSON as the database keeps it, in UTF-8."""

    id: int
    call_id: str
    payload: bytes


Packed = tuple[int, bytes]
"""The first id of an outbox entry, or the id of a dead letter, and the packed batch."""


class Newest(NamedTuple):
    """The largest id of each, or 0 if there is none."""

    event: int
    entry: int
    letter: int


class ErasableDatabase(Protocol):
    """Every method raises `StoreError`, and is one statement or one transaction of bounded size."""

    async def lock(self) -> bool:
        """Keep retention away until `close`. Return False if another process is at work."""

    async def check(self) -> list[str]:
        """Return tables with events that cannot be searched. Raises `StoreError` while events move between tables."""

    async def newest(self) -> Newest:
        """The newest event, outbox entry and dead letter, all at the same moment."""

    async def events(self, after_id: int, limit: int, call_ids: Sequence[str] | None) -> list[StoredEvent]:
        """The next events above this id, in the order of their ids; only those of the calls if some are given.

        At most `limit`, or fewer if they are large. None are left if there are none.
        """

    async def entries(self, after_id: int, limit: int) -> list[Packed]:
        """The next entries of the outbox above this first id."""

    async def letters(self, after_id: int, limit: int) -> list[Packed]:
        """The next dead letters above this id."""

    async def erase(self, event_ids: Sequence[int], tombstone: Batch) -> int:
        """Delete the rows and dead letters of these events, and store the tombstone: all or nothing.

        Return the number of deleted rows.
        """

    async def replace_entry(
        self, first_id: int, change: Callable[[bytes], bytes | None], event_ids: Sequence[int], tombstone: Batch
    ) -> int:
        """Change an outbox entry, if it is still there, and do what `erase` does: all or nothing."""

    async def finish(self) -> None:
        """Let no copy of deleted rows stay in the database's own files, as far as it can be asked to."""

    async def close(self) -> None: ...
