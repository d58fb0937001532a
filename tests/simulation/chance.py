"""All chance of a simulation comes from one object. The same seed makes the same decisions.

Each name has a stream of decisions of its own. So a decision that is left out, while a failure is shrunk, changes no
decision of another name.
"""

from collections.abc import Collection
from random import Random
from typing import Protocol

import msgspec


class Chance(Protocol):
    """`what` names the decision: a few words, the same for all decisions of a kind."""

    def happens(self, what: str, probability: float) -> bool:
        """Decide whether something bad happens. The harmless answer is False."""

    def pick(self, what: str, count: int) -> int:
        """Choose from `range(count)`. The harmless answer is 0."""

    def seconds(self, what: str, least: float, most: float) -> float:
        """Choose a time between these two. The harmless answer is `least`."""


class Decision(msgspec.Struct, frozen=True):
    """The decision number `nth` with this name, from 0. Only decisions that were not harmless are recorded."""

    what: str
    nth: int
    chosen: bool | int | float

    @property
    def name(self) -> tuple[str, int]:
        return self.what, self.nth


class SeededChance:
    """Decides by a seed, and records what it decided.

    `left_out` has the decisions that take their harmless answer instead, `unused` the names of which all do.
    """

    def __init__(
        self, seed: int, left_out: Collection[tuple[str, int]] = frozenset(), unused: Collection[str] = frozenset()
    ) -> None:
        self.seed = seed
        self.decisions: list[Decision] = []
        self.calm = False
        """From now on nothing bad happens. Choices and times are still made."""
        self._left_out = frozenset(left_out)
        self._unused = frozenset(unused)
        self._leaves_none_out = not (left_out or unused)
        self._streams: dict[str, _Stream] = {}

    def happens(self, what: str, probability: float) -> bool:
        stream = self._streams.get(what) or self._begun(what)
        stream.drawn += 1
        if stream.random() >= probability or self.calm or self._is_left_out(stream):
            return False
        self.decisions.append(Decision(what, stream.drawn - 1, chosen=True))
        return True

    def pick(self, what: str, count: int) -> int:
        stream = self._streams.get(what) or self._begun(what)
        stream.drawn += 1
        chosen = int(stream.random() * count)
        if not chosen or self._is_left_out(stream):
            return 0
        self.decisions.append(Decision(what, stream.drawn - 1, chosen))
        return chosen

    def seconds(self, what: str, least: float, most: float) -> float:
        stream = self._streams.get(what) or self._begun(what)
        stream.drawn += 1
        chosen = least + stream.random() * (most - least)
        if self._is_left_out(stream):
            return least
        self.decisions.append(Decision(what, stream.drawn - 1, chosen))
        return chosen

    def _begun(self, what: str) -> "_Stream":
        found = self._streams[what] = _Stream(what, self.seed)
        return found

    def _is_left_out(self, stream: "_Stream") -> bool:
        if self._leaves_none_out:
            return False
        return stream.what in self._unused or (stream.what, stream.drawn - 1) in self._left_out


class _Stream:
    """The random numbers of one name."""

    __slots__ = ("drawn", "random", "what")

    def __init__(self, what: str, seed: int) -> None:
        self.what = what
        self.drawn = 0
        self.random = Random(f"{seed} {what}").random
