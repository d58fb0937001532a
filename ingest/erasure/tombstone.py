"""The message that tells consumers which events were erased, so that they can erase them too. Pure."""

from collections.abc import Sequence

import msgspec

from ingest.clock import time_text
from ingest.events.batch import Batch
from ingest.events.batch_codec import pack, unpack_one
from ingest.events.event import Event

EVENTS_ERASED = "events_erased"
"""The `event_type` of a tombstone."""
ERASED = "erased"
"""Stands for a number or a call in a tombstone."""
HEADER = "erasure"
"""The header of a tombstone. A client may post an event of this type, but only the service sets headers."""
IDS_MAX = 500
"""Ids in one tombstone: about 11 KB."""


class Tombstone(msgspec.Struct, frozen=True):
    """The body: a valid call event, so that no consumer fails at it. `erased_ids` are decimal strings."""

    call_id: str
    from_number: str
    to_number: str
    event_type: str
    timestamp: str
    erased_ids: Sequence[str]


def tombstone_of(erasure: str, event_ids: Sequence[int], now_us: int) -> Event:
    """Return the event that names these erased ones. `erasure` names one run of the command."""
    ids = [str(event_id) for event_id in event_ids]
    body = Tombstone(f"erasure-{erasure}", ERASED, ERASED, EVENTS_ERASED, time_text(now_us), ids)
    return Event(body.call_id, EVENTS_ERASED, msgspec.json.encode(body), headers={HEADER: erasure})


def without(packed: bytes, event_ids: set[int], erasure: str, now_us: int) -> bytes | None:
    """Return a packed batch in which a tombstone stands in the place of each of these events; None if it is damaged.

    The ids and places of all events stay: publishers remember the places that are not confirmed. The idempotency keys
    stay too: they are digests, and keep a client's repeat from storing the event again.
    """
    batch = unpack_one(packed)
    if batch is None:
        return None
    events = [
        msgspec.structs.replace(tombstone_of(erasure, [event_id], now_us), key=event.key)
        if event_id in event_ids
        else event
        for event_id, event in zip(batch.ids, batch.events, strict=True)
    ]
    return pack(Batch(batch.ids, events, batch.created_us, batch.producer))
