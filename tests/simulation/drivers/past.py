"""The days before a world begins: their events are rows in partitions, and some of them are not published yet."""

from datetime import UTC, date, datetime, time

from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.events.event import Event
from ingest.events.ids import SEQUENCE_BITS, first_id_of, milliseconds_of
from ingest.retention.partitions import AHEAD_DAYS, LAST, ONE_DAY, day_of, days, end_of, name_of
from tests.simulation.chance import Chance
from tests.simulation.drivers.rows import DEAD, DROPPED, EVENTS, KEYS, OUTBOX, ObservedDatabase
from tests.simulation.mysql.sql.values import Moment
from tests.simulation.mysql.storage.tables import Partition
from tests.simulation.servers import IDEMPOTENCY_SECONDS

DAYS = 7
"""Full days before today."""
ROWS_A_DAY = 3
SLOT = 3000
"""No worker of the world has it."""
DAY_MS = 86_400_000
LEASE_SECONDS = 8.0
"""An event that waits is still leased by a worker of before for up to this time."""
IN_OUTBOX, DEAD_LETTER, KEYED = 5, 6, 3
"""One row of this many is still in the outbox, is a dead letter, or has an idempotency key."""


def begin_with_past(database: ObservedDatabase, chance: Chance, now_us: int) -> None:
    """Fill the empty tables as a service does that has run for `DAYS` days."""
    today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
    first = today - ONE_DAY * DAYS
    ends = [Partition(name_of(day), end_of(day)) for day in days(first, today + ONE_DAY * AHEAD_DAYS)]
    database.tables[EVENTS].partitions = [*ends, Partition(LAST, None)]
    for day in days(first, today - ONE_DAY):
        for number in range(ROWS_A_DAY):
            _add(database, chance, day, number, now_us)
    database.forget_published()


def due(database: ObservedDatabase, keep_days: int, now_us: int) -> str | None:
    """The work that retention still has. None if nothing. `now_us` is the true time."""
    today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
    partitions = database.tables[EVENTS].partitions
    if DROPPED in database.tables:
        return f"{DROPPED} is left"
    if (partitions[-2].end or 0) < end_of(today + ONE_DAY * AHEAD_DAYS):
        return f"{name_of(today + ONE_DAY * AHEAD_DAYS)} does not exist"
    last_day = min(today, day_of(max(database.stored)))
    before = end_of(last_day - ONE_DAY * keep_days)
    needed = min((*database.entries, *database.dead), default=before)
    for partition in partitions[:-1]:
        if (partition.end or 0) <= min(before, needed):
            return f"{partition.name} is due to be dropped"
    oldest = min((row[2] for row in database.tables[KEYS].committed_rows()), default=None)
    if oldest is not None and milliseconds_of(oldest) < now_us / 1000 - IDEMPOTENCY_SECONDS * 1000:
        return f"the key of {oldest} is due to be deleted"
    return None


def _add(database: ObservedDatabase, chance: Chance, day: date, number: int, now_us: int) -> None:
    midnight_ms = int(datetime.combine(day, time(), UTC).timestamp() * 1000)
    ms = midnight_ms + int(chance.seconds("time of a day", 0.0, DAY_MS - 1))
    event_id = first_id_of(ms) + (SLOT << SEQUENCE_BITS) + number
    call = f"{day}-{number}"
    payload = f'{{"call_id":"{call}","event_type":"call_started","n":"past-{call}/0"}}'.encode()
    event = Event(call_id=call, event_type="call_started", payload=payload)
    packed = pack(Batch([event_id], [event], ms * 1000, event_id))
    created = Moment(ms * 1000)
    row = {"id": event_id, "call_id": call, "event_type": "call_started", "payload": payload.decode()}
    database.add(EVENTS, row | {"created_time": created})
    if chance.pick("event of the past waits", IN_OUTBOX) == IN_OUTBOX - 1:
        lease_us = int(chance.seconds("event of the past is leased for", 0.0, LEASE_SECONDS) * 1e6)
        until = Moment(now_us + lease_us)
        entry = {"first_id": event_id, "count": 1, "lease_until": until, "attempts": 1, "batch": packed}
        database.add(OUTBOX, entry)
    elif chance.pick("event of the past is dead", DEAD_LETTER * DAYS) == DEAD_LETTER * DAYS - 1:
        letter = {"event_id": event_id, "reason": "refused", "died_time": Moment(now_us), "batch": packed}
        database.add(DEAD, letter)
    else:
        database.published_before[event_id] = payload
    if chance.pick("event of the past has a key", KEYED) == KEYED - 1:
        key = event_id.to_bytes(16, "big")
        database.add(KEYS, {"digest": key, "fingerprint": key, "event_id": event_id})
