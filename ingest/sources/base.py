"""What a client's adapter is given, and what it makes of that."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import msgspec

from ingest.errors import Malformed

CALL_STARTED, CALL_RINGING, CALL_ANSWERED, CALL_ENDED = "call_started", "call_ringing", "call_answered", "call_ended"


UNKNOWN = "unknown"
"""The number of who has none: the call is counted all the same."""


class Posted(msgspec.Struct, frozen=True):
    """A request as it came. `url` is the one that the client called; `query` is not decoded."""

    url: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event's fields, as far as the client tells them: what is missing is told as it is of any other event.

    `original` is all that the client sent.
    """

    call_id: str | None
    from_number: str | None
    to_number: str | None
    event_type: str | None
    timestamp: str | None
    duration: int | None = None
    client: str = ""
    original: Any = None


class Source(Protocol):
    """One kind of client. Adapters are stateless."""

    name: str
    """Its place in the path: `/in/<name>`."""
    status: int
    """Of the answer to what is taken: some clients want 204."""

    def calls(self, posted: Posted) -> Sequence[Call]:
        """What the request tells. Raises `Malformed`."""

    def is_signed(self, posted: Posted, secret: bytes) -> bool:
        """Whether the request bears the client's signature, made with the secret; True of clients that do not sign."""


class Unsigned:
    """Of clients that do not sign."""

    def is_signed(self, posted: Posted, secret: bytes) -> bool:
        return True


def document(body: bytes) -> Any:
    """The JSON in a body. Raises `Malformed`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Malformed(f"The body is not valid JSON: {exc}") from exc


def json_object(body: bytes) -> dict[str, Any]:
    """The same of an object. Raises `Malformed`."""
    found = document(body)
    if not isinstance(found, dict):
        raise Malformed("The body must be one JSON object.")
    return found


def text(value: Any) -> str | None:
    """A value that people see as text; None of an empty one."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def whole(value: Any) -> int | None:
    """A whole number, as a number or as its digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else None


def now() -> str:
    """For clients that do not tell the time of what they tell."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def of_unix_seconds(seconds: int | None) -> str | None:
    """None of none, of zero, and of a time that no calendar has."""
    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC)) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None


def of_rfc2822(date: str | None) -> str | None:
    """`Fri, 31 Jan 2025 13:45:00 +0000`; None of anything else."""
    try:
        return rfc3339(parsedate_to_datetime(date)) if date else None
    except ValueError:
        return None
