"""A record in a file: the request that posts it, and whether its writer has finished.

FreeSWITCH's modules write a record that they could not post as `<uuid>.cdr.json` or `<uuid>.cdr.xml`. The file has the
record as they encoded it, without the name `cdr` of its field.
"""

import re
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

FORM = "application/x-www-form-urlencoded"
NAMES = {"freeswitch": re.compile(r"(?P<uuid>[^.].*)\.cdr\.(json|xml)")}
"""Names of a source's records. Files with other names stay untouched."""
OTHER_NAMES = re.compile(r"(?P<uuid>[^.].*)\.cdr\.(json|xml)|[^.].*\.(json|xml|form)")
ENDS = {b"{": b"}", b"[": b"]", b"<": b">"}
"""The first byte of a record and its last one."""
ENCODED_ENDS = {b"%7b": b"%7d", b"%3c": b"%3e"}
"""The same for a record that is percent-encoded."""
BASE64_GROUP_BYTES = 4
KEY_CHARS = 40


class Request(NamedTuple):
    target: str
    body: bytes
    headers: dict[str, str]


def is_record(client: str, name: str) -> bool:
    return _names(client).fullmatch(name) is not None


def request_of(client: str, name: str, content: bytes) -> Request:
    """Return the request that the server itself would have sent. Its key depends on name and content alone."""
    match = _names(client).fullmatch(name)
    uuid = match["uuid"] if match else None
    body = content.strip()
    if uuid and body[:1] not in ENDS and not body.startswith(b"cdr="):
        body = b"cdr=" + body
    query = f"?uuid={quote(uuid, safe='')}" if uuid else ""
    key = sha256(b"\0".join((client.encode(), (uuid or "").encode(), body))).hexdigest()[:KEY_CHARS]
    return Request(f"/in/{quote(client, safe='')}{query}", body, {"Content-Type": _type(body), "Idempotency-Key": key})


def is_complete(content: bytes) -> bool:
    """Tell by the last bytes if the writer has finished. A form, which has no end, is complete."""
    record = content.strip().removeprefix(b"cdr=")
    if record[:1] in ENDS:
        return record.endswith(ENDS[record[:1]])
    if record[:3].lower() in ENCODED_ENDS:
        return record[-3:].lower() == ENCODED_ENDS[record[:3].lower()]
    if b"=" in record.rstrip(b"="):
        return True
    return bool(record) and len(record) % BASE64_GROUP_BYTES == 0


def _names(client: str) -> re.Pattern[str]:
    return NAMES.get(client, OTHER_NAMES)


def _type(body: bytes) -> str:
    if body[:1] in (b"{", b"["):
        return "application/json"
    return "text/xml" if body[:1] == b"<" else FORM
