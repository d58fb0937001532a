"""What lies in a spool, and its bounds."""

from typing import NamedTuple

import msgspec

from ingest.events.batch import Batch, unpack_one
from ingest.spool.segment import ENTRY_BYTES

RECORD_BYTES = ENTRY_BYTES
"""What a record takes beside its batch."""
SEGMENTS = 16
"""A full spool has about so many files: each gives its room back when all in it has gone, and is open until then."""
SEGMENT_BYTES_MIN = 4096
SEGMENT_BYTES_MAX = 256 << 20
"""Of a segment that is loaded the index's rows are held twice."""


class SpoolLimits(msgspec.Struct, frozen=True):
    bytes_max: int
    free_bytes_min: int
    """Of the disk, that the spool leaves to others."""
    lease_seconds: float
    """How long a record that is being brought to the database is not published."""
    published_first: bool = False
    """Nothing is brought to the database before it is published: there others could publish it out of its turn."""

    @property
    def segment_bytes(self) -> int:
        """A segment that is so long is not appended to."""
        return min(max(self.bytes_max // SEGMENTS, SEGMENT_BYTES_MIN), SEGMENT_BYTES_MAX)


class Usage(msgspec.Struct, frozen=True):
    """Of what waits; `refused_events` are set aside, `file_bytes` are the files', which hold what is gone, too."""

    records: int = 0
    events: int = 0
    bytes: int = 0
    refused_events: int = 0
    file_bytes: int = 0


class Place(NamedTuple):
    """Where a batch lies: the segment's number, and the place and size of the packed batch in it, in bytes."""

    segment: int
    place: int
    size: int


class Record(msgspec.Struct, frozen=True):
    """A batch as it lies in the spool; `batch` is packed, see `ingest.events.batch.pack`."""

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
