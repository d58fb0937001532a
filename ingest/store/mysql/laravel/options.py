"""The choices of an operator for a move, and its limits."""

from collections.abc import Callable
from datetime import UTC, tzinfo

import msgspec

JOB = "SendCallEventToRabbitJob"
RESERVED_SECONDS = 90
"""Laravel's default of `retry_after`: a worker of Laravel takes a job again after this time."""

Progress = Callable[[int, int], object]
"""Called with the rows that are done, and all rows."""


class Options(msgspec.Struct, frozen=True):
    """`zone` is that of the original's `created_time`, as MySQL shows it to a session in UTC."""

    zone: tzinfo = UTC
    job: str = JOB
    reserved_seconds: int = RESERVED_SECONDS
    chunk_rows: int = 1000
    chunk_jobs: int = 100
    still_seconds: float = 1.0
    """A table without new rows for this time has no busy writer. A later writer gets an error, and no answer 200."""
