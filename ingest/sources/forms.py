"""Decodes forms, and detects bodies that are mislabeled as forms."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from ingest.errors import Malformed

FIELDS_MAX = 500


def is_json(body: bytes) -> bool:
    """Decide by the first byte, because some sources send JSON with the Content-Type of a form."""
    return body.lstrip()[:1] in (b"{", b"[")


def form(body: bytes) -> Mapping[str, str]:
    """Decode the fields of a form. The last value of a repeated field wins. Raises `Malformed`."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
            strict_parsing=True,
        )
    except (UnicodeDecodeError, ValueError) as exc:
        raise Malformed(f"The body is neither JSON nor a form: {exc}.") from exc
    if not pairs:
        raise Malformed("The body is empty.")
    return dict(pairs)


def field(body: bytes, name: str) -> bytes | None:
    """Return the rest of a body that begins with `name=`, not decoded. None if it begins otherwise."""
    start = name.encode() + b"="
    return body[len(start) :] if body.startswith(start) else None


def query_value(query: str, name: str) -> str | None:
    """Return a value of the query. Some sources append a second query to it: `token=x?uuid=1`."""
    for part in query.replace("?", "&").split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return unquote(value)
    return None
