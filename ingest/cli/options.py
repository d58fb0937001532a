"""Shared by the commands: the settings as their first argument, and times as options."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import click

from ingest.errors import SettingsError
from ingest.settings import Settings, read_settings

P = ParamSpec("P")
T = TypeVar("T")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,6})([smhd])")


def with_settings(command: Callable[Concatenate[Settings, P], T]) -> Callable[P, T]:
    """Read the settings when the command runs, so that its `--help` needs none."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return command(read_settings(), *args, **kwargs)

    return run


class Duration(NamedTuple):
    seconds: int
    text: str
    """The duration in the user's words."""

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Parse `90s`, `15m`, `12h` or `30d`. Raises `SettingsError`."""
        match = _DURATION.fullmatch(text)
        if not match:
            raise SettingsError(f"{text!r} is no time: write a number and one of s, m, h, d, such as 30d.")
        return cls(int(match[1]) * _UNITS[match[2]], text)


class DurationType(click.ParamType[Duration]):
    name = "time"

    def convert(self, value: str | Duration, _param: click.Parameter | None, _ctx: click.Context | None) -> Duration:
        return value if isinstance(value, Duration) else Duration.parse(value)


DURATION = DurationType()
