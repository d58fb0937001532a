"""The interface of a source: it translates a posted request into calls."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import msgspec

from ingest.errors import Malformed

CALL_STARTED, CALL_RINGING, CALL_ANSWERED, CALL_ENDED = "call_started", "call_ringing", "call_answered", "call_ended"


UNKNOWN = "unknown"
"""The number of a party without one. The service accepts the call nevertheless."""


class Posted(msgspec.Struct, frozen=True):
    """A request as it came. `url` is the URL that the source called; `query` is not decoded."""

    url: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of an event. The service rejects an event without a required field, as it does for other clients.

    `original` is the whole record that the source sent.
    """

    call_id: str | None
    from_number: str | None
    to_number: str | None
    event_type: str | None
    timestamp: str | None
    duration: int | None = None
    source: str = msgspec.field(default="", name="client")
    original: Any = None


class Source(Protocol):
    """One kind of telephony server. Sources are stateless."""

    name: str
    """The name in the path `/in/<name>`."""
    status: int
    """The status of a successful response; some sources expect 204."""

    def calls(self, posted: Posted) -> Sequence[Call]:
        """Return the calls in the request. Raises `Malformed`."""

    def is_signed(self, posted: Posted, secret: bytes) -> bool:
        """Check the request's signature, which the source makes with the secret. True if the source does not sign."""


class Unsigned:
    """A base for sources that do not sign."""

    def is_signed(self, posted: Posted, secret: bytes) -> bool:
        return True


def document(body: bytes) -> Any:
    """Decode a JSON body. Raises `Malformed`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Malformed(f"The body is not valid JSON: {exc}") from exc


def json_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object. Raises `Malformed`."""
    found = document(body)
    if not isinstance(found, dict):
        raise Malformed("The body must be one JSON object.")
    return found


def text(value: Any) -> str | None:
    """Return a string or number as text, or None if it is empty or of another type."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def whole(value: Any) -> int | None:
    """Return a whole number that is given as a number or as digits, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else None


def now() -> str:
    """The current time, for sources that do not send one."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def of_unix_seconds(seconds: int | None) -> str | None:
    """None if the seconds are absent, zero, or out of the range of dates."""
    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC)) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None


def of_rfc2822(date: str | None) -> str | None:
    """Translate a date such as `Fri, 31 Jan 2025 13:45:00 +0000`. None if it is anything else."""
    try:
        return rfc3339(parsedate_to_datetime(date)) if date else None
    except ValueError:
        return None
