"""Reads the settings from environment variables."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ingest.errors import SettingsError
from ingest.settings.checks import check
from ingest.settings.model import PREFIX, Settings


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings in `environ`. Raises `SettingsError`, which names the variable and how to correct it."""
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    known = {PREFIX + name.upper(): name for name in fields}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(PREFIX + "TEST_"):
            continue
        if variable not in known:
            raise SettingsError(f"{variable} is not a setting. `ingest config` lists all settings.")
        if text.strip() or known[variable] == "api_tokens":
            values[known[variable]] = _value(variable, text, fields[known[variable]].type)
    settings = msgspec.structs.replace(Settings(), **values)
    check(settings)
    return settings


def _value(variable: str, text: str, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        return tuple(token for part in text.split(",") if (token := part.strip()))
    if kind is Path:
        return Path(text)
    try:
        return msgspec.convert(text.strip(), kind, strict=False)
    except msgspec.ValidationError as exc:
        raise SettingsError(f"{variable}={text!r}: {exc}.") from exc
