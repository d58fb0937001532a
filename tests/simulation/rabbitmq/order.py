"""aiormq ends its futures in the order of a set, which differs from run to run. In a simulation it is the order of age.

A set of futures is sorted by their addresses. A seed would then not decide all of a schedule.
"""

from typing import Any

import aiormq.base


class OrderedSet(dict[Any, None]):
    """Has the methods of a set that `FutureStore` calls. It pops the newest."""

    def add(self, one: object) -> None:
        self[one] = None

    def remove(self, one: object) -> None:
        del self[one]

    def pop(self) -> Any:  # type: ignore[override]
        return self.popitem()[0]


def order_futures() -> None:
    """Take the place of `set` in aiormq's module of futures, which uses it for nothing else."""
    aiormq.base.set = OrderedSet  # type: ignore[attr-defined]
