"""Makes the fields of an event from values that a telephony server only copied from a phone or a provider.

A call is not refused because of such a value: it is cut, limited or replaced, and the event says so.
"""

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Any

from ingest.events.call_event import DURATION_SECONDS_MAX, LENGTHS_MAX
from ingest.events.field_errors import is_rfc3339
from ingest.events.local_times import with_offset
from ingest.telemetry.labels import Adaptation

UNKNOWN = "unknown"
"""The number of a party that the server does not know, or does not tell."""

DIGEST_BYTES = 16
"""Size of the digest at the end of a call's id that was cut."""

_CLOCK = re.compile(r"(\d{1,6}):([0-5]?\d):([0-5]?\d)(?:\.\d*)?", re.ASCII)
_DIGITS = re.compile(r"-?\d{1,19}", re.ASCII)
_UNITS = {"unix": 1, "unix_ms": 1_000, "unix_us": 1_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


UNCHANGED: frozenset[Adaptation] = frozenset()


class Adapter:
    """Collects what it changed: for each field of the event, the reason and a sentence."""

    def __init__(self) -> None:
        self.changes: dict[str, tuple[Adaptation, str]] = {}

    def text(self, field: str, value: Any) -> str | None:
        """Return the value of a text field, or None if it has none. Strings and numbers have a text."""
        if type(value) is str and value.isascii() and (text := value.strip()) and len(text) <= LENGTHS_MAX[field]:
            return text  # nearly all values
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            return None
        try:
            text = str(value).strip()
        except ValueError:
            return None  # more digits than Python converts
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if whole != text or "\ufffd" in whole:
            self._changed(field, "replaced", "characters that are not Unicode were replaced")
        return self._cut(field, whole) or None

    def number(self, field: str, value: Any) -> str:
        """Return a party's number, or `unknown`."""
        text = self.text(field, value)
        if text is None:
            self._changed(field, "unknown", "the request had none")
        return text or UNKNOWN

    def seconds(self, value: Any, per_second: int = 1, *, required: bool) -> int | None:
        """Return a duration in whole seconds. It may be a number, digits, or a clock's `h:mm:ss`.

        None if there is none; 0 if an event of this type needs one.
        """
        found = _number(value)
        if found is None:
            if value not in (None, ""):
                self._changed("duration", "replaced", "it was no number")
            return 0 if required else None
        seconds = found / per_second if per_second > 1 else found
        whole = int(min(max(seconds, 0), DURATION_SECONDS_MAX))
        if not 0 <= seconds <= DURATION_SECONDS_MAX:
            self._changed("duration", "clamped", f"it was not in 0 to {DURATION_SECONDS_MAX}")
        elif whole != seconds and per_second == 1:
            self._changed("duration", "rounded", "it had a fraction of a second")
        return whole

    def moment(self, value: Any, formats: tuple[str, ...], zone: tzinfo | None) -> str | None:
        """Return a time in RFC 3339. None if there is none, or if it is in none of the formats.

        `formats` are `rfc3339`, `rfc2822`, `unix`, `unix_ms`, `unix_us` or those of `strptime`. A time without an
        offset is in `zone`; without a zone it cannot be read.
        """
        if value in (None, "", 0, "0"):
            return None
        for name in formats:
            if found := _moment(value, name, zone):
                return found
        self._changed("timestamp", "replaced", "it could not be read; this is the time of the request")
        return None

    def original(self, reason: str) -> None:
        """Say that the original is not as it came, and why."""
        self._changed("original", "replaced", reason)

    def reasons(self) -> frozenset[Adaptation]:
        return frozenset(reason for reason, _ in self.changes.values()) if self.changes else UNCHANGED

    def told(self) -> dict[str, str]:
        return {field: sentence for field, (_, sentence) in self.changes.items()}

    def _cut(self, field: str, text: str) -> str:
        limit = LENGTHS_MAX[field]
        if len(text) <= limit:
            return text
        self._changed(field, "cut", f"it had {len(text)} characters")
        if field != "call_id":
            return text[:limit]
        # Ids of different calls may have the same beginning.
        return text[: limit - 2 * DIGEST_BYTES] + blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()

    def _changed(self, field: str, reason: Adaptation, sentence: str) -> None:
        self.changes[field] = (reason, sentence)


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if clock := _CLOCK.fullmatch(text):
            return int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
        if _DIGITS.fullmatch(text):
            return int(text)
        try:
            value = float(text) if text.isascii() and "_" not in text else None
        except ValueError:
            return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if isinstance(value, int | float) else None


def _moment(value: Any, name: str, zone: tzinfo | None) -> str | None:
    try:
        if name in _UNITS:
            return _of_unix(value, _UNITS[name])
        if not isinstance(value, str):
            return None
        if name == "rfc3339":
            return _of_rfc3339(value.strip(), zone)
        read = parsedate_to_datetime(value) if name == "rfc2822" else datetime.strptime(value.strip(), name)
        if read.tzinfo is None:
            return with_offset(read.isoformat(), zone) if zone else None
        return rfc3339(read)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _of_unix(value: Any, per_second: int) -> str | None:
    found = _number(value)
    if found is None or (isinstance(value, str) and ":" in value) or not found > 0:
        return None
    return rfc3339(_EPOCH + timedelta(microseconds=int(found * 1_000_000 // per_second)))


def _of_rfc3339(text: str, zone: tzinfo | None) -> str | None:
    if is_rfc3339(text):
        return text
    return with_offset(text, zone) if zone else None


def now() -> str:
    """The current time, for requests without one."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
