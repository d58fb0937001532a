"""Days of `call_event_logs`: which partitions there must be, and which may go.

The table is partitioned by its ids, whose upper bits are the time an event was accepted, so its primary key stays the
id alone. A partition `pYYYYMMDD` holds the events of that day (UTC); `pmax` all later ones, which are none as a rule.
A day goes only on evidence: the database's clock, the newest event, and the rows' own `created_time`.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

import msgspec

from ingest.clock import time_text
from ingest.errors import StoreError
from ingest.events.ids import first_id_of, milliseconds_of

AHEAD_DAYS = 7
"""Partitions are made for so many days to come."""
MISSING_DAYS_MAX = 400
"""Days without a partition are made up to so many at once; more of them are a wrong clock's."""
LATER_SECONDS_MAX = 3600.0
"""A row's `created_time` may be so much later than its id says; an id of this service is never earlier than it."""
LAST = "pmax"
ONE_DAY = timedelta(days=1)
UNPARTITIONED = "call_event_logs has no partitions: `ingest retention --convert` makes them, while events are stored."
UNTOUCHED = "Nothing was dropped or made."


class Partition(msgspec.Struct, frozen=True):
    """`end` is the first id behind it, None of the last one; rows and bytes are the database's estimates."""

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
    """All as the database has it: its clock (Unix microseconds), partitions in their order, the newest event, the
    oldest one that is not published or is a dead letter."""

    now_us: int
    partitions: Sequence[Partition]
    newest_id: int | None
    oldest_needed: int | None

    @property
    def today(self) -> date:
        return datetime.fromtimestamp(self.now_us / 1e6, UTC).date()


class Plan(msgspec.Struct, frozen=True):
    """`create` are days, oldest first; `kept` are those that would go, but hold events that are not published.

    Events below `before_id` are beyond their time.
    """

    create: Sequence[date]
    drop: Sequence[Partition] = ()
    kept: Sequence[Partition] = ()
    before_id: int = 0


class Table(Protocol):
    """`call_event_logs` by days, on a connection of its own. Raises `StoreError`s."""

    async def lock(self, seconds_max: int) -> bool:
        """Whether nobody else changes the partitions, until `close`."""

    async def check(self) -> None:
        """Raises `StoreError` where nothing may be dropped: the table is another one, or not all of it is there."""

    async def facts(self) -> Facts: ...
    async def sample(self, partition: Partition) -> Sequence[Row]:
        """The first row, the last, and some between."""

    async def create(self, of_days: Sequence[date]) -> None: ...
    async def finish_drop(self, before_id: int) -> None:
        """Remove what an interrupted `drop` left, if all its events are below `before_id` and published."""

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


def plan(facts: Facts, keep_days: int | None = None, bytes_max: int | None = None) -> Plan:
    """What to do with the table. Raises `StoreError` if its partitions are none, or not by days.

    Days before the last `keep_days` go, and the oldest ones as long as all together have more than `bytes_max`. The
    last day is today, or that of the newest event if that is earlier: of a table that takes no more events the last
    days stay. None goes with an id from `oldest_needed` on: it is not published.
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
    """All but the last. Raises `StoreError` if one's name and bounds are not those of a day."""
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
        f"did not make it. {UNTOUCHED} Drop such partitions by your own means, or take them away (ALTER TABLE "
        "call_event_logs REMOVE PARTITIONING) and run `ingest retention --convert`."
    )


def _missing(with_days: Sequence[Partition], today: date) -> Sequence[date]:
    """Each day has a partition of its own, also those on which nobody made any."""
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
    """Raises `StoreError` if a row was created later than its id says: then its id tells no day."""
    if (row := first_disagreeing(rows)) is not None:
        raise StoreError(f"{disagreement(row, where)} {UNTOUCHED}")


def first_disagreeing(rows: Sequence[Row]) -> Row | None:
    """A row whose `created_time` is later than its id's time, or none."""
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
        "Such ids tell no day: this service did not make them."
    )
