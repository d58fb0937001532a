"""The faults between a publisher and the broker. Each comes by chance."""

from typing import Literal, NamedTuple

import msgspec

from tests.simulation.chance import Chance

Kind = Literal["nack", "silent", "lost", "close channel", "close connection"]
KINDS: tuple[Kind, ...] = ("nack", "silent", "lost", "close channel", "close connection")
"""The mildest comes first. After a silent one no confirms come, but heartbeats do."""

CHANNEL_REASONS = (
    (406, "PRECONDITION_FAILED - invalid message", (60, 40)),
    (311, "CONTENT_TOO_LARGE - message size 99 is larger than configured max size 9", (60, 40)),
    (404, "NOT_FOUND - no exchange 'gone' in vhost '/'", (60, 40)),
    (403, "ACCESS_REFUSED - write access refused", (60, 40)),
    (405, "RESOURCE_LOCKED - cannot obtain exclusive access", (50, 10)),
)
CONNECTION_REASONS = (
    (320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"),
    (541, "INTERNAL_ERROR"),
    (501, "FRAME_ERROR - type 3, all octets = <<>>"),
    (506, "RESOURCE_ERROR"),
    (530, "NOT_ALLOWED"),
)


class FaultRates(msgspec.Struct, frozen=True):
    """`chunk` is the probability of a fault in what a publisher sends at once. Times are in seconds."""

    chunk: float = 0.0
    split: float = 0.0
    """The probability that the confirms of a chunk come in parts, in any order."""
    confirm_seconds: tuple[float, float] = (0.0, 0.0)
    survives: float = 0.5
    """The probability that a message without a confirm survives a crash."""


NO_FAULTS = FaultRates()


class Fault(NamedTuple):
    """It comes before the message `at` of a chunk, or after all if there are no more."""

    kind: Kind
    at: int


def drawn_fault(chance: Chance, rates: FaultRates, messages: int) -> Fault | None:
    if not messages or not rates.chunk or not chance.happens("rabbitmq: a chunk meets a fault", rates.chunk):
        return None
    kind = KINDS[chance.pick("rabbitmq: which fault", len(KINDS))]
    return Fault(kind, chance.pick("rabbitmq: at which message", messages + 1))
