"""Days of `call_event_logs`: which partitions there must be, and which may go.

The table is partitioned by its ids, whose upper bits are the time an event was accepted, so its primary key stays the
id alone. A partition `pYYYYMMDD` holds the events of that day (UTC); `pmax` all later ones, which are none as a rule.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

import msgspec

from ingest.errors import StoreError
from ingest.ids import first_id_of, milliseconds_of

AHEAD_DAYS = 7
"""Partitions are made for so many days to come."""
LAST = "pmax"
ONE_DAY = timedelta(days=1)
UNPARTITIONED = "call_event_logs has no partitions: `ingest retention --convert` makes them, while events are stored."


class Partition(msgspec.Struct, frozen=True):
    """`end` is the first id behind it, None of the last one; rows and bytes are the database's estimates."""

    name: str
    end: int | None
    rows: int = 0
    bytes: int = 0

    @property
    def is_last(self) -> bool:
        return self.end is None


class Plan(msgspec.Struct, frozen=True):
    """`create` are days, oldest first; `kept` are those that would go, but hold events that are not published."""

    create: Sequence[date]
    drop: Sequence[Partition]
    kept: Sequence[Partition] = ()


class Table(Protocol):
    """`call_event_logs` by days, on a connection of its own. Raises `StoreError`s."""

    async def lock(self, seconds_max: int) -> bool:
        """Whether nobody else changes the partitions, until `close`."""

    async def partitions(self) -> list[Partition]: ...
    async def oldest_needed(self) -> int | None: ...
    async def create(self, of_days: Sequence[date]) -> None: ...
    async def drop(self, partition: Partition) -> None: ...
    async def close(self) -> None: ...


def name_of(day: date) -> str:
    return f"p{day:%Y%m%d}"


def end_of(day: date) -> int:
    """The first id that may be made on the next day."""
    midnight = datetime.combine(day + ONE_DAY, time(), UTC)
    return first_id_of(int(midnight.timestamp() * 1000))


def day_of(event_id: int) -> date:
    """The day on which the id was made."""
    return datetime.fromtimestamp(milliseconds_of(event_id) / 1000, UTC).date()


def days(first: date, last: date) -> list[date]:
    """Both included."""
    return [first + ONE_DAY * number for number in range((last - first).days + 1)]


def plan(
    partitions: Sequence[Partition],
    today: date,
    oldest_needed: int | None,
    keep_days: int | None = None,
    bytes_max: int | None = None,
) -> Plan:
    """What to do with a partitioned table: `partitions` are in their order, the last of them without an end.

    Days before the last `keep_days` go, and the oldest ones as long as all together have more than `bytes_max`; never
    today, and none with an id from `oldest_needed` on: it is not published.
    """
    with_days = [partition for partition in partitions if not partition.is_last]
    first_missing = max([today, *(day_of((partition.end or 1) - 1) + ONE_DAY for partition in with_days)])
    create = days(first_missing, today + ONE_DAY * AHEAD_DAYS)
    size = sum(partition.bytes for partition in partitions)
    drop: list[Partition] = []
    kept: list[Partition] = []
    for partition in with_days:
        end = partition.end or 0
        too_old = keep_days is not None and end <= end_of(today - ONE_DAY * keep_days)
        too_much = bytes_max is not None and size > bytes_max and end <= end_of(today - ONE_DAY)
        if not (too_old or too_much):
            continue
        if oldest_needed is not None and end > oldest_needed:
            kept.append(partition)
        else:
            drop.append(partition)
            size -= partition.bytes
    return Plan(create, drop, kept)


async def plan_for(table: Table, today: date, keep_days: int | None, bytes_max: int | None) -> Plan:
    """What is to be done. Raises `StoreError` for a table without partitions."""
    partitions = await table.partitions()
    if not partitions:
        raise StoreError(UNPARTITIONED)
    return plan(partitions, today, await table.oldest_needed(), keep_days, bytes_max)
