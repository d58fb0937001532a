"""Forms, and bodies that are labelled as such and are something else."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from ingest.errors import Malformed

FIELDS_MAX = 500
JSON_STARTS = b"{["


def is_json(body: bytes) -> bool:
    """By its first byte: clients whose header lists are replaced send JSON under a form's label."""
    return body.lstrip()[:1] in (b"{", b"[")


def form(body: bytes) -> Mapping[str, str]:
    """The fields of a form, decoded; of one that is given twice the last. Raises `Malformed`."""
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
    """What follows `name=` in the body, all of it and as it is, if it begins so."""
    start = name.encode() + b"="
    return body[len(start) :] if body.startswith(start) else None


def query_value(query: str, name: str) -> str | None:
    """A value of the query, also where a client appends a second query to it: `token=x?uuid=1`."""
    for part in query.replace("?", "&").split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return unquote(value)
    return None
