"""Reads the body of a telephony server: JSON, a form or XML, as it is and not as it is labeled."""

import base64
import binascii
import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

import msgspec

from ingest.errors import Malformed
from ingest.sources import xml
from ingest.sources.values import Adapter

FIELDS_MAX = 500
DIGITS_MAX = 400
"""Digits of a whole number in JSON. Longer ones stay text."""


class Record(msgspec.Struct, frozen=True):
    """A body's fields, and the original that the event keeps."""

    fields: Mapping[str, Any]
    original: Any


def read(body: bytes, wrapper: str, adapter: Adapter) -> Record:
    """Return the record in a body. In a form it may stand in the field `wrapper`. Raises `Malformed`."""
    body = body.removeprefix(BOM_UTF8).strip()
    if not body:
        raise Malformed("The body is empty.")
    if wrapper:
        body = _unwrapped(body, wrapper)
    if body[:1] in (b"{", b"["):
        return _json(body, adapter)
    if body[:1] == b"<" or body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = xml.decoded(body)
        if "\ufffd" in text:
            adapter.original("bytes that are not in its encoding were replaced")
        return Record(xml.tree(text), _plain(text))
    if wrapper:
        raise Malformed("The body is neither JSON nor XML.")
    return _form(body, adapter)


def _json(body: bytes, adapter: Adapter) -> Record:
    try:
        fields: Any = msgspec.json.decode(body)
        original: Any = msgspec.Raw(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fields = _lenient(body)
        original = _plain(body.decode("utf-8", "backslashreplace"))
        adapter.original("it is not valid JSON in UTF-8, and kept as text")
    if isinstance(fields, list) and len(fields) == 1:
        fields = fields[0]
    if not isinstance(fields, dict):
        raise Malformed("The body must be one JSON object.")
    return Record(fields, original)


def _lenient(body: bytes) -> Any:
    """Decode JSON with bytes that are not UTF-8, control characters, `NaN` or numbers of any length."""
    try:
        return json.loads(body.decode("utf-8", "replace"), strict=False, parse_int=_whole)
    except (ValueError, RecursionError) as exc:
        raise Malformed(f"The body is not valid JSON: {exc}") from exc


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= DIGITS_MAX else digits


def _form(body: bytes, adapter: Adapter) -> Record:
    if b"=" not in body:
        raise Malformed("The body is neither JSON, XML nor a form.")
    fields = dict(pairs(body))
    if any("\ufffd" in text for pair in fields.items() for text in pair):
        adapter.original("bytes that are not UTF-8 were replaced")
    return Record(fields, fields)


def pairs(body: bytes) -> list[tuple[str, str]]:
    """Decode a form. Its text may also be raw UTF-8. Raises `Malformed` if it has too many fields."""
    try:
        return parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace", max_num_fields=FIELDS_MAX
        )
    except ValueError as exc:
        raise Malformed(f"The form has more than {FIELDS_MAX} fields.") from exc


def _unwrapped(body: bytes, name: str) -> bytes:
    """Return the value of the only field, which may be plain, percent-encoded or Base64. Raises `Malformed`."""
    start = name.encode() + b"="
    if not body.startswith(start):
        return body
    value = body[len(start) :]
    if value[:1] not in (b"{", b"<"):
        value = unquote_to_bytes(value.replace(b"+", b" ") if value[:1] == b"%" else value)
    if value.lstrip()[:1] not in (b"{", b"<"):
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error as exc:
            raise Malformed(
                f"The field {name} is not JSON or XML, either plain, percent-encoded or in Base64."
            ) from exc
    return value.removeprefix(BOM_UTF8).strip()


def query_value(query: str, name: str) -> str | None:
    """Return a value of the query. Some sources append a second query to it: `token=x?uuid=1`."""
    for part in query.replace("?", "&").split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return unquote(value)
    return None


def _plain(text: str) -> str:
    """Return the text without the half pairs of surrogates that UTF-16 may leave."""
    return text.encode("utf-8", "replace").decode()
