"""SQL that reads events back."""

from ingest.events.ids import SEQUENCE_BITS, SLOTS_MAX, slot_of
from ingest.store.event_query import EventFilter
from ingest.store.mysql.statements.literals import listed, quoted

NEWEST_ID = b"SELECT COALESCE(MAX(id), 0) FROM call_event_logs"
COUNT_EVENTS = b"SELECT COUNT(*) FROM call_event_logs WHERE "
READ_EVENTS = b"SELECT id, call_id, event_type, CAST(payload AS CHAR) FROM call_event_logs WHERE "
COUNT_ROWS = (
    b"SELECT COUNT(*) FROM call_event_logs WHERE id BETWEEN %d AND %d AND id >> "
    + str(SEQUENCE_BITS).encode()
    + b" & %d = %d"
)


def where(selection: EventFilter) -> bytes:
    """The condition that selects these events."""
    conditions = [b"id BETWEEN %d AND %d" % (selection.first_id, selection.last_id)]
    for column, texts in ((b"call_id", selection.call_ids), (b"event_type", selection.event_types)):
        if texts:
            conditions.append(b"%b IN (%b)" % (column, b",".join(quoted(text.encode()) for text in texts)))
    if selection.ids:
        conditions.append(b"id IN (%b)" % listed(selection.ids))
    return b" AND ".join(conditions)


def count_rows(first_id: int, last_id: int) -> bytes:
    return COUNT_ROWS % (first_id, last_id, SLOTS_MAX - 1, slot_of(first_id))
