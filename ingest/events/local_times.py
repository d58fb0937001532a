"""Timestamps without an offset from UTC, as clients of the Laravel service send them: `2025-11-30 10:00:00`."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import msgspec

_LOCAL = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::[0-5]\d)?)(\.\d+)?", re.ASCII)

_OFFSET = re.compile(r"([+-])(\d\d):([0-5]\d)", re.ASCII)

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def zone_named(name: str) -> tzinfo | None:
    """Return the zone of an IANA name such as `Asia/Baku`, or of an offset such as `+04:00`. None for an empty name.

    Raises ValueError for any other name, or if this machine has no time zone data.
    """
    if not name:
        return None
    if offset := _OFFSET.fullmatch(name):
        minutes = int(offset[2]) * 60 + int(offset[3])
        return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as exc:  # ZoneInfoNotFoundError is a KeyError; a name may be a folder
        raise ValueError(f"there is no time zone {name!r} on this machine") from exc


def is_local(timestamp: str) -> bool:
    """Return True for a date and time without an offset."""
    return _moment(timestamp) is not None


def with_offset(timestamp: str, zone: tzinfo) -> str | None:
    """Return a local time in RFC 3339, with the offset that `zone` had then. None if it is no local time.

    An hour that clocks repeat at the end of summer time counts as summer time. A local mean time of a past century
    has an offset with seconds, which RFC 3339 cannot write: such a time is written in UTC.
    """
    moment = _moment(timestamp)
    if moment is None:
        return None
    try:
        there = moment.replace(tzinfo=zone)
        offset = there.utcoffset() or timedelta()
        return (there.astimezone(UTC) if offset % timedelta(minutes=1) else there).isoformat()
    except OverflowError:
        return None  # a zone's rules cannot answer at the ends of the calendar


def write_offset(body: bytes, zone: tzinfo) -> bytes:
    """Return an event (JSON object) whose local timestamp has its offset. Any other body is returned unchanged."""
    try:
        fields = _decode_fields(body)
        text = _decode_text(fields["timestamp"])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        return body
    written = with_offset(text, zone)
    return _encode(fields | {"timestamp": written}) if written else body


def _moment(timestamp: str) -> datetime | None:
    match = _LOCAL.fullmatch(timestamp.strip())
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}{(match[3] or '')[:7]}") if match else None
    except ValueError:
        return None
