"""The fields of a call event that the service knows, with their limits."""

from datetime import datetime
from typing import Annotated

import msgspec

CALL_ENDED = "call_ended"
DURATION_SECONDS_MAX = 2**31 - 1
LENGTHS_MAX = {"call_id": 255, "from_number": 128, "to_number": 128, "event_type": 64}
"""In characters. The table's columns have the same widths."""

Text255 = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text128 = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text64 = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
Duration = Annotated[int, msgspec.Meta(ge=0, le=DURATION_SECONDS_MAX)]


class CallEvent(msgspec.Struct, gc=False):
    """The fields that the service reads. All other fields are kept in the payload."""

    call_id: Text255
    from_number: Text128
    to_number: Text128
    event_type: Text64
    timestamp: Timestamp
    duration: Duration | None = None
