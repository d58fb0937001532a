"""Times as people write them in commands."""

import re

from ingest.errors import SettingsError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,6})([smhd])")


def seconds_of(text: str) -> int:
    """`90s`, `15m`, `12h`, `30d` in seconds. Raises `SettingsError`."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise SettingsError(f"{text!r} is no time: write a number and one of s, m, h, d, such as 30d.")
    return int(match[1]) * _UNITS[match[2]]
