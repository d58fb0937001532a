"""The form of a source: where its requests have the fields of an event, and how they are signed and answered.

A form is a TOML file. Those in `forms/` are part of the service; `INGEST_CLIENT_FORMS` names a folder with more.

`extends = "NAME"` at its top takes the built-in form of that name, and replaces only the keys that the file has.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ingest.errors import SettingsError
from ingest.events.call_event import LENGTHS_MAX

FILE_BYTES_MAX = 65_536
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
SUFFIX = ".toml"

_BUILT_IN = files("ingest.sources").joinpath("forms")

Document = dict[str, Any]
"""A TOML file's content."""

Paths = str | list[str]
"""One or several places of a value. The first one that has a value counts.

`a.0.b` is a place in the body, `?name` in the query, `=text` a constant.
"""


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The places of an event's fields."""

    call_id: Paths
    from_number: Paths
    to_number: Paths
    event_type: Paths
    timestamp: Paths = ""
    duration: Paths = ""


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How times are written: `rfc3339`, `rfc2822`, `unix`, `unix_ms`, `unix_us`, or patterns of `strptime`.

    `zone` is that of times without an offset; `INGEST_TIMESTAMP_ZONE` is its default.
    """

    formats: tuple[str, ...] = ("rfc3339",)
    zone: str = ""


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`field` is the form field in which the record may stand. Its values may be `percent_encoded`."""

    field: str = ""
    percent_encoded: bool = False
    call_id_prefix: str = ""
    """A prefix that is no part of a call's id."""
    duration_unit: Literal["s", "ms"] = "s"


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The response that the source takes as success. `{url}` in the body is the URL of the request."""

    status: Annotated[int, msgspec.Meta(ge=200, le=299)] = 200
    content_type: str = ""
    body: str = ""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a source proves that it knows the secret of `INGEST_CLIENT_SECRETS`.

    `hmac` signs the text `signed`, whose parts may be `{body}`, `{url}`, `{separator}`, `{fields}`, `{time}` and
    `{nonce}`. `ed25519` signs such a text as well; the secret is the public key in Base64. `jwt` is a token in the
    header, signed with HMAC-SHA256. With `header` the header is the secret, with `basic` its password.
    """

    kind: Literal["hmac", "ed25519", "jwt", "header", "basic"]
    header: str = "authorization"
    pattern: str = "(?P<signature>.+)"
    """The signature in the header, and the group `time` if the time stands there."""
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    signed: str = "{body}"
    time_header: str = ""
    nonce_header: str = ""
    age_seconds_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    """A signature that is older, or further in the future, counts as a replay. `0` sets no limit."""
    body_hash: str = ""
    """Where the SHA-256 of the body stands in hexadecimal digits: `?name` in the query, or a claim of the token."""


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    description: str
    documentation: str
    """Where the source describes its requests."""
    fields: Fields
    event_types: Mapping[str, str] = {}
    """The event's type by the source's value. Other values stay as they are."""
    time: Time = Time()
    body: Body = Body()
    answer: Answer = Answer()
    signature: Signature | None = None
    key_headers: tuple[str, ...] = ()
    """Headers that name a request, and that the source repeats with it."""


def read_form(path: Path) -> Form:
    """Raises `SettingsError`, which names the file and what is wrong in it."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise SettingsError(f"The form {path} cannot be read: {exc.strerror}.") from exc
    return _parsed(content, str(path))


def built_in_forms() -> dict[str, Form]:
    """The forms that are part of the service, by name."""
    return {
        entry.name.removesuffix(SUFFIX): _parsed(entry.read_bytes(), entry.name)
        for entry in _BUILT_IN.iterdir()
        if entry.name.endswith(SUFFIX)
    }


def all_forms(folder: str) -> dict[str, Form]:
    """The built-in forms and those of the folder. A file with the name of a built-in form replaces it.

    Raises `SettingsError`.
    """
    forms = built_in_forms()
    if folder:
        forms |= _forms_in(Path(folder))
    return dict(sorted(forms.items()))


def _forms_in(folder: Path) -> dict[str, Form]:
    if not folder.is_dir():
        raise SettingsError(f"INGEST_CLIENT_FORMS: there is no folder {folder}.")
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if wrong := next((path for path in paths if not NAME.fullmatch(path.stem)), None):
        raise SettingsError(
            f"The form {wrong}: its name is part of a URL, so it may have up to 32 lower-case letters, digits, - and _."
        )
    return {path.stem: read_form(path) for path in paths}


def _parsed(content: bytes, name: str) -> Form:
    if len(content) > FILE_BYTES_MAX:
        raise SettingsError(f"The form {name} has more than {FILE_BYTES_MAX} bytes.")
    try:
        document = tomllib.loads(content.decode())
        if "extends" in document:
            document = _extended(document.pop("extends"), document)
        form = msgspec.convert(document, Form)
    except (ValueError, tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise SettingsError(f"The form {name}: {exc}.") from exc
    _check(form, name)
    return form


def _extended(base: Any, own: Document) -> Document:
    """Return a built-in form in which the keys of `own` replace its keys. Raises ValueError for other names."""
    if not isinstance(base, str) or not NAME.fullmatch(base) or not (file := _BUILT_IN / f"{base}{SUFFIX}").is_file():
        raise ValueError(f"extends names no built-in form: {base!r}")
    document = tomllib.loads(file.read_text("utf-8"))
    if "extends" in document:
        raise ValueError(f"extends names {base}, which extends another form itself")
    for key, value in own.items():
        old = document.get(key)
        document[key] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    return document


def _check(form: Form, name: str) -> None:
    longest = LENGTHS_MAX["event_type"]
    for event_type in form.event_types.values():
        if not 0 < len(event_type) <= longest:
            raise SettingsError(f"The form {name}: an event type must have 1 to {longest} characters.")
    if form.signature:
        try:
            groups = re.compile(form.signature.pattern).groupindex
        except re.error as exc:
            raise SettingsError(f"The form {name}: the pattern of the signature is invalid: {exc}.") from exc
        if "signature" not in groups:
            raise SettingsError(f"The form {name}: the pattern of the signature needs a group (?P<signature>…).")
