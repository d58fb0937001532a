"""The id of a row that `ingest doctor` inserts and rolls back."""

import secrets

from ingest.clock import unix_us
from ingest.events.ids import LEASED_SLOTS_MAX, SEQUENCE_BITS, SEQUENCE_MAX, SLOTS_MAX, first_id_of


def unused_id() -> int:
    """Return an id of now, in a slot that no worker leases."""
    slot = LEASED_SLOTS_MAX + secrets.randbelow(SLOTS_MAX - LEASED_SLOTS_MAX)
    return first_id_of(unix_us() // 1000) | slot << SEQUENCE_BITS | secrets.randbelow(SEQUENCE_MAX)
