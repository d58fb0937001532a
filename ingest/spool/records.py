"""What lies in a spool, and its bounds."""

import msgspec

from ingest.batches import Batch, unpack_one

RECORD_BYTES = 64
"""What a record takes beside its batch, about."""


class SpoolLimits(msgspec.Struct, frozen=True):
    bytes_max: int
    free_bytes_min: int
    """Of the disk, that the spool leaves to others."""
    lease_seconds: float
    """How long a record that is being brought to the database is not published."""
    published_first: bool = False
    """Nothing is brought to the database before it is published: there others could publish it out of its turn."""


class Usage(msgspec.Struct, frozen=True):
    records: int = 0
    events: int = 0
    bytes: int = 0
    refused_events: int = 0
    """Set aside."""


class Record(msgspec.Struct, frozen=True):
    """A batch as it lies in the spool; `batch` is packed, see `ingest.batches.pack`."""

    first_id: int
    count: int
    lease_until: int | None
    batch: bytes

    @property
    def bytes(self) -> int:
        return len(self.batch) + RECORD_BYTES

    def unpacked(self) -> Batch | None:
        """None if the record is damaged."""
        return unpack_one(self.batch)


class Refused(msgspec.Struct, frozen=True):
    """What cannot be brought to the database, packed as in `Record`, and why."""

    first_id: int
    count: int
    reason: str
    batch: bytes
