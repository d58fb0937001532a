"""Compares the rounds of two trees: ratios of neighboring rounds, their median with its spread, and a verdict. Pure."""

from collections.abc import Callable, Mapping, Sequence
from math import comb
from statistics import median
from typing import Literal

import msgspec

from bench.harness.rounds import Round

CONFIDENCE = 0.95
ROUNDS_MIN = 6
"""With fewer rounds no spread covers the median with this confidence."""

Outcome = Literal["faster", "slower", "no difference seen"]


class Figure(msgspec.Struct, frozen=True):
    """`slower_max` is the share by which head may be slower than base before the comparison fails."""

    of: Callable[[Round], float]
    slower_max: float
    more_is_better: bool = False


FIGURES: Mapping[str, Figure] = {
    "service CPU µs an event": Figure(lambda made: made.cpu_us["service"], slower_max=0.1),
    "events/s": Figure(lambda made: made.per_second, slower_max=0.1, more_is_better=True),
    "p50 ms": Figure(lambda made: made.p50_ms, slower_max=0.15),
    "p99 ms": Figure(lambda made: made.p99_ms, slower_max=0.25),
}
"""The tail of a closed loop varies most, so its bound is the widest."""


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
    """Compare the rounds in pairs: `base[n]` and `head[n]` are neighbors in time."""
    bases, heads = [figure.of(made) for made in base], [figure.of(made) for made in head]
    ratios = [new / old for new, old in zip(heads, bases, strict=True)]
    ratio, (least, most) = median(ratios), spread(ratios)
    outcome = _outcome(figure, least, most)
    slower = 1 / ratio - 1 if figure.more_is_better else ratio - 1
    fails = outcome == "slower" and slower > figure.slower_max
    return Comparison(median(bases), median(heads), ratio, least, most, outcome, fails)


def _outcome(figure: Figure, least: float, most: float) -> Outcome:
    """A difference counts if the whole spread is on one side of 1."""
    if least <= 1 <= most:
        return "no difference seen"
    return "faster" if (least > 1) == figure.more_is_better else "slower"


def spread(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the narrowest interval, symmetric in the sorted ratios, that covers their median with `CONFIDENCE`.

    The sign test assumes no distribution: each ratio is below the true median with a probability of one half. Raises
    ValueError for fewer than `ROUNDS_MIN` ratios.
    """
    count = len(ratios)
    if count < ROUNDS_MIN:
        raise ValueError(f"{count} rounds are too few for a spread; it needs at least {ROUNDS_MIN}")
    outside = [2 * sum(comb(count, below) for below in range(depth + 1)) / 2**count for depth in range(count // 2)]
    depth = max(depth for depth, chance in enumerate(outside) if chance <= 1 - CONFIDENCE)
    ordered = sorted(ratios)
    return ordered[depth], ordered[count - 1 - depth]
