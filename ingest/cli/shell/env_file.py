"""Reads the file of `--env-file`, in the form that systemd's `EnvironmentFile` and docker's `--env-file` share.

A line is `NAME=value`, a comment or empty. Programs read some values in different ways. Such a value is refused, so
that a command cannot use another value than the service.
"""

import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from ingest.errors import SettingsError

FILE_BYTES_MAX = 1 << 20
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_ESCAPED = re.compile(r'\\(["\\$`])')
"""A backslash in double quotes has a meaning only before these characters."""
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"' + r"|'([^']*)'")


def read_env_file(path: Path) -> dict[str, str]:
    """Return name → value. Raises `SettingsError`, which names file and line but never a value."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise SettingsError(f"--env-file {path} cannot be read: {exc.strerror}.") from exc
    if len(content) > FILE_BYTES_MAX:
        raise SettingsError(f"--env-file {path} has more than {FILE_BYTES_MAX} bytes.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
        raise SettingsError(f"{path}:{line}: the line is not UTF-8.") from None
    found = {}
    for number, one in enumerate(text.split("\n"), 1):
        stripped = one.strip()
        if stripped and stripped[0] not in "#;":
            name, value = _assignment(stripped, f"{path}:{number}")
            found[name] = value
    return found


def apply_env_file(path: Path, environ: MutableMapping[str, str]) -> list[str]:
    """Add the file's variables to the environment, which wins. Return the names that have another value there."""
    found: Mapping[str, str] = read_env_file(path)
    others = [name for name, value in found.items() if environ.get(name, value) != value]
    for name, value in found.items():
        environ.setdefault(name, value)
    return others


def _assignment(line: str, place: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if not match:
        hint = " without `export`" if line.startswith("export ") else ""
        raise SettingsError(f"{place}: write NAME=value{hint}, with no space before the equals sign.")
    return match[1], _value(match[2].strip(), f"{place}: {match[1]}")


def _value(text: str, place: str) -> str:
    if "\0" in text:
        raise SettingsError(f"{place}: the value has a zero byte.")
    if text[:1] in ("'", '"'):
        quoted = _QUOTED.fullmatch(text)
        if not quoted:
            raise SettingsError(f"{place}: the quotes do not end with the line, or text follows them.")
        return _ESCAPED.sub(r"\1", quoted[1]) if quoted[1] is not None else quoted[2]
    if "\\" in text:
        raise SettingsError(f"{place}: a backslash needs single quotes around the value, as systemd drops it.")
    if re.search(r"\s#", text):
        raise SettingsError(f"{place}: a comment needs its own line; quote a value that has a space and #.")
    return text
