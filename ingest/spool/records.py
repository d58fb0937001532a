"""Records of a spool, and its bounds."""

from typing import NamedTuple

import msgspec

from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from ingest.spool.segments.format import ENTRY_BYTES

RECORD_BYTES = ENTRY_BYTES
"""The size of a record without its batch."""
SEGMENTS = 16
"""A full spool has about this many files. Each stays open, and is deleted once nothing in it is needed."""
SEGMENT_BYTES_MIN = 4096
SEGMENT_BYTES_MAX = 256 << 20
"""While a segment is loaded, its rows are in memory twice."""


FREE = 0
"""The lease of a record that anybody may publish at once."""


class SpoolLimits(msgspec.Struct, frozen=True):
    bytes_max: int
    free_bytes_min: int
    """Free space of the disk that the spool never uses."""
    lease_seconds: float
    """For this time the relay does not publish a record that the drainer has taken."""
    published_first: bool = False
    """The drainer takes only published records: in the database others could publish them out of order."""

    @property
    def segment_bytes(self) -> int:
        """A segment of this size gets no more entries."""
        return min(max(self.bytes_max // SEGMENTS, SEGMENT_BYTES_MIN), SEGMENT_BYTES_MAX)


class Usage(msgspec.Struct, frozen=True):
    """`refused_events` are set aside. `file_bytes` is the size of the files, which also hold removed records."""

    records: int = 0
    events: int = 0
    bytes: int = 0
    refused_events: int = 0
    file_bytes: int = 0


class Place(NamedTuple):
    """The segment's number, and the offset and size of a packed batch in it, in bytes."""

    segment: int
    offset: int
    size: int

    def tail(self, size: int) -> "Place":
        """The last `size` bytes."""
        return Place(self.segment, self.offset + self.size - size, size)


class Record(msgspec.Struct, frozen=True):
    """A batch in the spool. `batch` is packed, see `ingest.events.batch.pack`. A None lease means: published."""

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
    """Events that the database refuses, packed as in `Record`, and the reason."""

    first_id: int
    count: int
    reason: str
    batch: bytes
