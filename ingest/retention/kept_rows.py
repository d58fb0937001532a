"""The rows of a day that is due to be dropped, and what keeps them elsewhere before."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec


class Summary(msgspec.Struct, frozen=True):
    """The number of rows, the first and the last id, and the XOR of all ids. All are 0 if there are no rows."""

    events: int = 0
    first_id: int = 0
    last_id: int = 0
    ids_xor: int = 0


StoredRow = tuple[int, str, str, str | None, str, Mapping[str, object]]
"""The arguments of `ingest.retention.archive.event_line.line_of`."""


class TakenRows(Protocol):
    """Rows that nothing else changes any more. Every method raises `StoreError`."""

    async def summary(self) -> Summary: ...

    def pages(self) -> AsyncIterator[Sequence[StoredRow]]:
        """All rows in the order of their ids, some hundred at a time."""


Keep = Callable[[TakenRows], Awaitable[None]]
"""Keeps the rows elsewhere. When it returns, they may be dropped. Raises `StoreError` if they may not."""


async def keep_nothing(_: TakenRows) -> None:
    """Let the rows be dropped without an archive."""
