"""The plan of an open loop, and the recording of its run."""

import random
from array import array
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

Arrivals = Literal["poisson", "even"]


class Plan(msgspec.Struct, frozen=True):
    """A load. Poisson arrivals model many independent clients; even arrivals have constant gaps."""

    port: int
    token: str
    per_second: float
    seconds: float
    arrivals: Arrivals = "poisson"
    seed: int = 1
    connections_max: int = 256
    """Connections. All are opened before the first request, kept and used in turn, with one request at a time."""
    pending_max: int = 20_000
    """Requests that may wait for a connection; a further request is a failure."""
    answer_seconds_max: float = 10.0
    """An answer counts until this many seconds after the last request was due."""


class Recording(msgspec.Struct, frozen=True):
    """The result of each request, in the order of the due times; all times are in seconds.

    `due` counts from `started`, on the clock of `time.monotonic`, which all processes share. `latency` counts from
    `due`, and is NaN without an answer 200. `lateness` is the generator's own delay after `due`.
    """

    started: float
    due: "array[float]"
    latency: "array[float]"
    lateness: "array[float]"
    failures: Mapping[str, int]
    """A status, or an error's name → number of requests."""
    cpu_seconds: float
    """The generator's CPU time, from the start of the schedule to the last answer."""


def schedule(plan: Plan) -> "array[float]":
    """Return the due times in seconds from the start. The same plan gives the same times."""
    if plan.arrivals == "even":
        return array("d", (number / plan.per_second for number in range(round(plan.seconds * plan.per_second))))
    return array("d", _poisson(plan))


def _poisson(plan: Plan) -> Iterator[float]:
    dice = random.Random(plan.seed)
    due = dice.expovariate(plan.per_second)
    while due < plan.seconds:
        yield due
        due += dice.expovariate(plan.per_second)
