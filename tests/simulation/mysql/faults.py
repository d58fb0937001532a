"""The faults of queries and connections. Each comes by chance."""

from typing import Literal, NamedTuple

import msgspec

from tests.simulation.chance import Chance

Kind = Literal["slow", "error", "lost", "silent"]
KINDS: tuple[Kind, ...] = ("slow", "error", "lost", "silent")
"""The mildest comes first. With a silent one no answer comes: the query got lost, or it was executed."""

NUMBERS = (1205, 1213, 1020, 3101, 1317, 1290, 1836, 1114, 1021, 1105, 1030, 1180, 1053, 1927)
"""Conflicts, a killed statement, read-only, full disks, two that the service does not list, COMMIT, and shutdown."""
ROLL_BACK = {1213, 3101, 1180}
"""Errors with which the server has undone the transaction."""
END = {1053, 1927}
"""Errors after which the server closes the connection."""


class FaultRates(msgspec.Struct, frozen=True):
    """The probability that a query or a connection meets a fault. Times are in seconds."""

    query: float = 0.0
    connect: float = 0.0
    statement_seconds: tuple[float, float] = (0.0, 0.0)
    connect_seconds: tuple[float, float] = (0.0, 0.0)
    slow_seconds: tuple[float, float] = (0.1, 6.0)
    notices_gone: float = 0.0
    """The probability that the server notices a client that has gone, between two statements of its query."""


NO_FAULTS = FaultRates()


class Fault(NamedTuple):
    """It comes before the statement `at` of a query, or after all if there are no more."""

    kind: Kind
    at: int
    number: int = 0
    seconds: float = 0.0


def drawn_fault(chance: Chance, rates: FaultRates, statements: int) -> Fault | None:
    if not rates.query or not chance.happens("mysql: a query meets a fault", rates.query):
        return None
    kind = KINDS[chance.pick("mysql: which fault", len(KINDS))]
    at = chance.pick("mysql: at which statement", statements + 1)
    if kind == "slow":
        return Fault(kind, at, seconds=chance.seconds("mysql: how slow", *rates.slow_seconds))
    if kind == "error":
        number = NUMBERS[chance.pick("mysql: which error", len(NUMBERS))]
        return Fault(kind, min(at, statements - 1), number)
    return Fault(kind, at)
