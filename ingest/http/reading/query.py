"""Parses the query of `GET /api/events`. Every filter that has no index needs a bounded time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qs

import msgspec

from ingest.errors import IngestError
from ingest.events.ids import ID_MAX, first_id_of
from ingest.reading.base import ROWS_MAX, EventQuery

CALL_CHARACTERS_MAX = 255
TYPE_CHARACTERS_MAX = 64
LIMIT_DEFAULT = 100
DEAD_LETTERS_MAX = 50
"""Most dead letters of a page. Each is read whole, and may have a megabyte."""
QUERY_BYTES_MAX = 8192
FIELDS_MAX = 10
EVENT_FILTERS = ("call", "type", "since", "until", "limit", "cursor")
PAGE_FIELDS = ("limit", "cursor")


class BadQuery(IngestError):
    """The query is wrong."""

    code = "bad_query"


class Search(msgspec.Struct, frozen=True):
    query: EventQuery
    limit: int


def search_of(query: str) -> Search:
    """Raises `BadQuery`."""
    given = fields_of(query, EVENT_FILTERS)
    call, kind = _text(given, "call", CALL_CHARACTERS_MAX), _text(given, "type", TYPE_CHARACTERS_MAX)
    if kind is not None and call is None and "since" not in given:
        raise BadQuery("`type` has no index: give `call`, or `since` for the time to search.")
    first_id = _id_at(given["since"], "since") if "since" in given else 0
    last_id = _id_at(given["until"], "until") - 1 if "until" in given else ID_MAX
    selected = EventQuery(call, kind, first_id, last_id, newest=call is None)
    cursor = _number(given, "cursor", ID_MAX)
    return Search(
        selected if cursor is None else selected.after(cursor), _number(given, "limit", ROWS_MAX) or LIMIT_DEFAULT
    )


def page_of(query: str) -> tuple[int, int]:
    """The id after which a page of dead letters begins, and its limit. Raises `BadQuery`."""
    given = fields_of(query, PAGE_FIELDS)
    return _number(given, "cursor", ID_MAX) or 0, _number(given, "limit", DEAD_LETTERS_MAX) or DEAD_LETTERS_MAX


def fields_of(query: str, known: Sequence[str]) -> dict[str, str]:
    """Each field may be given once. Raises `BadQuery`."""
    if len(query) > QUERY_BYTES_MAX:
        raise BadQuery(f"The query has more than {QUERY_BYTES_MAX} bytes.")
    try:
        given = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=FIELDS_MAX)
    except ValueError as exc:
        raise BadQuery("The query cannot be parsed.") from exc
    if others := given.keys() - set(known):
        raise BadQuery(f"The query may have only {', '.join(known)}; it also has {len(others)} other fields.")
    if repeated := [name for name, values in given.items() if len(values) > 1]:
        raise BadQuery(f"`{repeated[0]}` is given more than once.")
    return {name: values[0] for name, values in given.items()}


def event_id_of(text: str) -> int | None:
    """None if this is no id."""
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 20 and 0 < int(text) <= ID_MAX else None


def _text(given: dict[str, str], name: str, characters_max: int) -> str | None:
    value = given.get(name)
    if value is not None and not 0 < len(value) <= characters_max:
        raise BadQuery(f"`{name}` has 1 to {characters_max} characters.")
    return value


def _number(given: dict[str, str], name: str, most: int) -> int | None:
    if name not in given:
        return None
    number = event_id_of(given[name])
    if number is None or number > most:
        raise BadQuery(f"`{name}` is a whole number from 1 to {most}.")
    return number


def _id_at(text: str, name: str) -> int:
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return min(first_id_of(int(at.timestamp() * 1000)), ID_MAX)
    except (ValueError, OverflowError):
        raise BadQuery(f"`{name}` is no time: write it as 2026-11-25 or 2026-11-25T13:45:00Z.") from None
