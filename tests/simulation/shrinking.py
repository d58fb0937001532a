"""Makes a failing schedule smaller: decisions that the failure does not need take their harmless answer."""

import gc
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from tests.simulation.running import Result, run

T = TypeVar("T")

RUNS_MAX = 200
KIND_CHARACTERS = 40


class Shrunk(msgspec.Struct, frozen=True):
    """`needed` are the faults without which the schedule does not fail in this way."""

    result: Result
    needed: list[str]
    runs: int


def shrink(result: Result, runs_max: int = RUNS_MAX) -> Shrunk:
    """First leave out all decisions of a name at once, then single faults."""
    search = _Search(result, runs_max)
    names = sorted({decision.what for decision in result.decisions})
    off = frozenset(names) - frozenset(
        least(names, lambda left: search.fails(frozenset(), frozenset(names) - frozenset(left)))
    )
    faults = [one.name for one in search.smallest.decisions if one.chosen is True]
    needed = least(faults, lambda left: search.fails(frozenset(faults) - frozenset(left), off))
    left_out = frozenset(faults) - frozenset(needed)
    final = run(result.seed, left_out, off, detailed=True)
    return Shrunk(final, [f"{what} ({nth + 1}.)" for what, nth in needed], search.runs)


class _Search:
    def __init__(self, result: Result, runs_max: int) -> None:
        self.smallest = result
        self.runs = 0
        self._kind = kind_of(result.failure)
        self._runs_max = runs_max

    def fails(self, left_out: frozenset[tuple[str, int]], unused: frozenset[str]) -> bool:
        """Return True if the schedule still fails in the same way."""
        if self.runs >= self._runs_max:
            return False
        self.runs += 1
        result = run(self.smallest.seed, left_out, unused)
        gc.collect()  # dead files close their descriptors now, before another world has the same numbers
        if kind_of(result.failure) != self._kind:
            return False
        self.smallest = result
        return True


def kind_of(failure: str | None) -> str:
    """Failures of one kind differ in their numbers and events only."""
    return re.sub(r"\d+", "#", failure or "")[:KIND_CHARACTERS]


def least(items: Sequence[T], still: Callable[[Sequence[T]], bool]) -> list[T]:
    """Leave out halves of the items, then quarters, and so on, as long as `still` holds for the rest."""
    kept, size = list(items), max(1, len(items) // 2)
    while True:
        at = 0
        while at < len(kept):
            rest = kept[:at] + kept[at + size :]
            if still(rest):
                kept = rest
            else:
                at += size
        if size == 1:
            return kept
        size //= 2
