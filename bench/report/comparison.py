"""Two trees compared round by round: ratios of neighbours, their median with its spread, and a verdict. Pure."""

from collections.abc import Callable, Mapping, Sequence
from math import comb
from statistics import median
from typing import Literal

import msgspec

from bench.harness.rounds import Round

CONFIDENCE = 0.95
ROUNDS_MIN = 6
"""Fewer have no spread that covers the median with this confidence."""

Outcome = Literal["faster", "slower", "no difference seen"]


class Figure(msgspec.Struct, frozen=True):
    """`slower_max` is the share by which head may be slower than base before the comparison fails."""

    of: Callable[[Round], float]
    slower_max: float
    more_is_better: bool = False


FIGURES: Mapping[str, Figure] = {
    "service CPU µs an event": Figure(lambda made: made.cpu_us["service"], slower_max=0.1),
    "events/s": Figure(lambda made: made.per_second, slower_max=0.1, more_is_better=True),
    "p99 ms": Figure(lambda made: made.p99_ms, slower_max=0.25),
}
"""The tail of a closed loop is the least steady of them, so it has the most room."""


class Comparison(msgspec.Struct, frozen=True):
    """Medians of base and head; `ratio` is the median of head ÷ base over the rounds, within `least` and `most`."""

    base: float
    head: float
    ratio: float
    least: float
    most: float
    outcome: Outcome
    fails: bool


def compare(figure: Figure, base: Sequence[Round], head: Sequence[Round]) -> Comparison:
    """Round by round: `base[n]` and `head[n]` are neighbours in time."""
    bases, heads = [figure.of(made) for made in base], [figure.of(made) for made in head]
    ratios = [new / old for new, old in zip(heads, bases, strict=True)]
    ratio, (least, most) = median(ratios), spread(ratios)
    outcome = _outcome(figure, least, most)
    slower = 1 / ratio - 1 if figure.more_is_better else ratio - 1
    fails = outcome == "slower" and slower > figure.slower_max
    return Comparison(median(bases), median(heads), ratio, least, most, outcome, fails)


def _outcome(figure: Figure, least: float, most: float) -> Outcome:
    """A difference counts when all of the spread is on one side."""
    if least <= 1 <= most:
        return "no difference seen"
    return "faster" if (least > 1) == figure.more_is_better else "slower"


def spread(ratios: Sequence[float]) -> tuple[float, float]:
    """The narrowest pair of the sorted ratios, as far from either end, that covers their median with `CONFIDENCE`.

    It assumes nothing of how they are distributed: each falls below the true median as a coin falls (the sign
    test). Raises ValueError for fewer than `ROUNDS_MIN`.
    """
    count = len(ratios)
    if count < ROUNDS_MIN:
        raise ValueError(f"{count} rounds are too few for a spread; {ROUNDS_MIN} are not")
    outside = [2 * sum(comb(count, below) for below in range(depth + 1)) / 2**count for depth in range(count // 2)]
    depth = max(depth for depth, chance in enumerate(outside) if chance <= 1 - CONFIDENCE)
    ordered = sorted(ratios)
    return ordered[depth], ordered[count - 1 - depth]
