"""Plans the partitions of `call_event_logs`, one a day: which ones to create, and which ones to drop.

The table is partitioned by id, as the upper bits of an id are the time at which the event was accepted. So the primary
key is the id alone. A partition `pYYYYMMDD` holds the events of that day (UTC). `pmax` holds all later ones, normally
none. A day is dropped only on evidence: the database's clock, the newest event, and the `created_time` of its rows.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

import msgspec

from ingest.clock import time_text
from ingest.errors import StoreError
from ingest.events.ids import first_id_of, milliseconds_of
from ingest.retention.kept_rows import Keep

AHEAD_DAYS = 7
"""Partitions exist for this number of days to come."""
MISSING_DAYS_MAX = 400
"""Partitions created at once. If more days are missing, a clock must be wrong."""
LATER_SECONDS_MAX = 3600.0
"""A row's `created_time` may be later than its id's time by this much. This service never makes such a row."""
LAST = "pmax"
ONE_DAY = timedelta(days=1)
UNPARTITIONED = "call_event_logs has no partitions: `ingest retention --convert` makes them, while events are stored."
UNTOUCHED = "Nothing was dropped or made."


class Partition(msgspec.Struct, frozen=True):
    """`end` is the first id after it, or None for the last one. Rows and bytes are the database's estimates."""

    name: str
    end: int | None
    rows: int = 0
    bytes: int = 0

    @property
    def is_last(self) -> bool:
        return self.end is None


class Row(msgspec.Struct, frozen=True):
    """An event's id and `created_time` (Unix microseconds; None if the column is NULL)."""

    id: int
    created_us: int | None


class Facts(msgspec.Struct, frozen=True):
    """The database's clock (Unix microseconds), its partitions in order, and its newest event.

    `oldest_needed` is the oldest event that is not published or is a dead letter.
    """

    now_us: int
    partitions: Sequence[Partition]
    newest_id: int | None
    oldest_needed: int | None

    @property
    def today(self) -> date:
        return datetime.fromtimestamp(self.now_us / 1e6, UTC).date()


class Plan(msgspec.Struct, frozen=True):
    """`create` are days, oldest first. `kept` are due to be dropped, but hold events that are not published.

    Events below `before_id` are due to be dropped.
    """

    create: Sequence[date]
    drop: Sequence[Partition] = ()
    kept: Sequence[Partition] = ()
    before_id: int = 0


class Table(Protocol):
    """The partitioned `call_event_logs`, on a connection of its own. Every method raises `StoreError`."""

    async def lock(self, seconds_max: int) -> bool:
        """Lock the partitions until `close`. Wait at most this time. Return False if another process has the lock."""

    async def check(self) -> None:
        """Raises `StoreError` if nothing may be dropped: some events are in another table, or ids hold no time."""

    async def facts(self) -> Facts: ...
    async def sample(self, partition: Partition) -> Sequence[Row]:
        """The first and the last row, and some between."""

    async def create(self, of_days: Sequence[date]) -> None: ...
    async def finish_drop(self, before_id: int, keep: Keep) -> None:
        """Remove what an interrupted `drop` left, if all its events are below `before_id` and published."""

    async def drop(self, partition: Partition, keep: Keep) -> bool:
        """Drop the partition after `keep` has returned. Return False if late rows have come: they stay in it."""

    async def close(self) -> None: ...


def name_of(day: date) -> str:
    return f"p{day:%Y%m%d}"


def end_of(day: date) -> int:
    """The first id of the next day."""
    midnight = datetime.combine(day + ONE_DAY, time(), UTC)
    return first_id_of(int(midnight.timestamp() * 1000))


def day_of(event_id: int) -> date:
    """The day (UTC) on which the id was made."""
    return datetime.fromtimestamp(milliseconds_of(event_id) / 1000, UTC).date()


def days(first: date, last: date) -> list[date]:
    """All days from the first to the last."""
    return [first + ONE_DAY * number for number in range((last - first).days + 1)]


def plan(facts: Facts, keep_days: int | None = None, bytes_max: int | None = None) -> Plan:
    """Decide what to create and drop. Raises `StoreError` if the table has no partitions, or some that are not days.

    Days before the last `keep_days` are dropped. While all days together exceed `bytes_max`, so is the oldest one. The
    last day is today, or that of the newest event if that is earlier. So a table that gets no more events keeps its
    last days. A day with ids from `oldest_needed` on is kept: some of its events are not published, or dead letters.
    """
    with_days = check_partitions(facts.partitions)
    create = _missing(with_days, facts.today)
    if facts.newest_id is None:
        return Plan(create)
    last_day = min(facts.today, day_of(facts.newest_id))
    too_old = end_of(last_day - ONE_DAY * keep_days) if keep_days is not None else 0
    excess = sum(partition.bytes for partition in facts.partitions) - bytes_max if bytes_max is not None else 0
    drop: list[Partition] = []
    kept: list[Partition] = []
    for partition in with_days:
        end = partition.end or 0
        if not (end <= too_old or (excess > 0 and end <= end_of(last_day - ONE_DAY))):
            continue
        if facts.oldest_needed is not None and end > facts.oldest_needed:
            kept.append(partition)
        else:
            drop.append(partition)
            excess -= partition.bytes
    oldest = (with_days[0].end or 0) if with_days and bytes_max is not None else 0
    return Plan(create, drop, kept, max(too_old, min(oldest, end_of(last_day - ONE_DAY))))


def check_partitions(partitions: Sequence[Partition]) -> Sequence[Partition]:
    """Return all but the last. Raises `StoreError` if a partition's name and bounds are not those of a day."""
    if not partitions:
        raise StoreError(UNPARTITIONED)
    *with_days, last = partitions
    if last.name != LAST or not last.is_last:
        raise StoreError(_foreign(last, f"the last one must be {LAST}, without an end"))
    for partition in with_days:
        day = day_of((partition.end or 1) - 1)
        if (partition.name, partition.end) != (name_of(day), end_of(day)):
            raise StoreError(_foreign(partition, f"the day of that end has the name {name_of(day)}, end {end_of(day)}"))
    return with_days


def _foreign(partition: Partition, reason: str) -> str:
    return (
        f"Partition {partition.name} of call_event_logs ends at {partition.end or 'MAXVALUE'}: {reason}. This service "
        f"did not make it. {UNTOUCHED} Drop such partitions by hand, or remove all (ALTER TABLE call_event_logs REMOVE "
        "PARTITIONING) and run `ingest retention --convert`."
    )


def _missing(with_days: Sequence[Partition], today: date) -> Sequence[date]:
    """The days without a partition, up to `AHEAD_DAYS` from today."""
    if not with_days:
        return days(today, today + ONE_DAY * AHEAD_DAYS)
    newest = day_of((with_days[-1].end or 1) - 1)
    missing = days(newest + ONE_DAY, today + ONE_DAY * AHEAD_DAYS)
    if len(missing) > MISSING_DAYS_MAX:
        raise StoreError(
            f"The newest partition of call_event_logs is {name_of(newest)}, and today is {today} by the database's "
            f"clock: more than {MISSING_DAYS_MAX} days. {UNTOUCHED} If the clock is right: ALTER TABLE call_event_logs "
            f"REORGANIZE PARTITION {LAST} INTO (PARTITION {name_of(today)} VALUES LESS THAN ({end_of(today)}), "
            f"PARTITION {LAST} VALUES LESS THAN MAXVALUE)"
        )
    return missing


def check_rows(rows: Sequence[Row], where: str) -> None:
    """Raises `StoreError` if a row was created later than its id says: its id does not hold the time then."""
    if (row := first_disagreeing(rows)) is not None:
        raise StoreError(f"{disagreement(row, where)} {UNTOUCHED}")


def first_disagreeing(rows: Sequence[Row]) -> Row | None:
    """A row whose `created_time` is later than its id's time; None if there is none."""
    later_us = int(LATER_SECONDS_MAX * 1e6)
    for row in rows:
        if row.created_us is None or row.created_us > milliseconds_of(row.id) * 1000 + later_us:
            return row
    return None


def disagreement(row: Row, where: str) -> str:
    made = time_text(milliseconds_of(row.id) * 1000)
    created = "NULL" if row.created_us is None else time_text(row.created_us)
    return (
        f"Ids and created_time disagree in {where}: id {row.id} is of {made}, and its created_time is {created}. "
        "Such ids do not hold the time: this service did not make them."
    )
