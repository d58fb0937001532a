"""What an open loop is to do, and the record of what it did."""

import random
from array import array
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

Arrivals = Literal["poisson", "even"]


class Plan(msgspec.Struct, frozen=True):
    """A load. Poisson arrivals are those of many clients who know nothing of each other; even ones a metronome's."""

    port: int
    token: str
    per_second: float
    seconds: float
    arrivals: Arrivals = "poisson"
    seed: int = 1
    connections_max: int = 256
    """All made before the first request, kept, and used in turn; one request is out on each at a time."""
    pending_max: int = 20_000
    """Requests that wait for a connection; one that comes due beyond is a failure."""
    answer_seconds_max: float = 10.0
    """How long after the last request's turn an answer still counts."""


class Recording(msgspec.Struct, frozen=True):
    """What became of each request, in the order in which they were due; all times in seconds.

    `due` counts from `started`, on the clock of `time.monotonic`, which all processes share. `latency` counts from
    `due` and is NaN without an answer 200. `lateness` is the generator's own: from `due` until it turned to it.
    """

    started: float
    due: "array[float]"
    latency: "array[float]"
    lateness: "array[float]"
    failures: Mapping[str, int]
    """A status, or what came instead of one → how many."""
    cpu_seconds: float
    """The generator's, from the schedule's beginning to the last answer."""


def schedule(plan: Plan) -> "array[float]":
    """Seconds from the start at which requests are due; the same for the same plan."""
    if plan.arrivals == "even":
        return array("d", (number / plan.per_second for number in range(round(plan.seconds * plan.per_second))))
    return array("d", _poisson(plan))


def _poisson(plan: Plan) -> Iterator[float]:
    dice = random.Random(plan.seed)
    due = dice.expovariate(plan.per_second)
    while due < plan.seconds:
        yield due
        due += dice.expovariate(plan.per_second)
