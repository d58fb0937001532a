"""Types of options. Each refuses a value that the command could not work with."""

import math

import click

from ingest.events.ids import ID_MAX

RATE_MIN, RATE_MAX = 0.001, 1_000_000.0
"""Events a second."""
WAIT_SECONDS_MAX = 31_536_000.0
"""A year, which every clock and timer can count."""
COUNT_MAX = 2**31 - 1
"""The largest number of a column that counts events."""
ROWS_MAX = 1_000_000
"""Most rows that a command lists at a time."""


class Number(click.FloatRange):
    """A finite number in a range. `nan` passes every comparison of click's own type."""

    name = "number"

    def convert(self, value: float | str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)  # type: ignore[arg-type] # click converts texts
        if not math.isfinite(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


RATE = Number(RATE_MIN, RATE_MAX)
EVENT_ID = click.IntRange(1, ID_MAX)
COUNT = click.IntRange(1, COUNT_MAX)
ROWS = click.IntRange(1, ROWS_MAX)


def seconds(least: float = 0.0) -> Number:
    return Number(least, WAIT_SECONDS_MAX)
