"""Finds which parts of something refused are to blame for it: on evidence, for an outage looks the same at first."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ingest.errors import BatchRefused, RowRefused

T = TypeVar("T")

UNPROVEN_MAX = 24
"""Commits that are tried until one succeeds: enough to come down to one event of a thousand, and to its neighbours."""


class Isolation(Generic[T]):
    """Commits parts, and their halves where they are refused, within a number of commits.

    A part that cannot be halved is to blame if it fails after a neighbour was committed: with the neighbour it had
    failed before, so only it makes the difference. A `RowRefused` is proof by itself. While no neighbour has been
    committed the database may as well refuse everything.
    """

    def __init__(
        self, parts: Sequence[T], halves: Callable[[T], Sequence[T]], commits_max: int, *, proven: bool = False
    ) -> None:
        """The last part is tried first. `halves` gives nothing of what cannot be halved.

        `proven`: a neighbour was committed since these parts failed.
        """
        self.proven = proven
        self.committed = False
        self.reason: BatchRefused | None = None
        """Of the newest refusal."""
        self.blamed: list[tuple[T, BatchRefused]] = []
        self._parts = [*parts]
        self._suspects: list[T] = []
        self._halves = halves
        self._commits_max = commits_max
        self._commits = 0

    @property
    def left(self) -> Sequence[T]:
        """What is neither committed nor to blame, in the order it came."""
        return [*reversed(self._parts), *self._suspects]

    async def run(self, commit: Callable[[T], Awaitable[object]]) -> None:
        """What `commit` raises but `BatchRefused` ends it; that part is left."""
        while self._parts and self._commits < (self._commits_max if self.proven else UNPROVEN_MAX):
            self._commits += 1
            part = self._parts[-1]
            try:
                await commit(part)
            except BatchRefused as exc:
                self._parts.pop()
                self._refused(part, exc)
            else:
                self._parts.pop()
                self._committed()

    def _refused(self, part: T, reason: BatchRefused) -> None:
        self.reason = reason
        if halves := self._halves(part):
            self._parts += halves
        elif self.proven or isinstance(reason, RowRefused):
            self.blamed.append((part, reason))
        else:
            self._suspects.append(part)

    def _committed(self) -> None:
        """A neighbour is: who was refused before is tried once more, when all others are through."""
        self.proven = self.committed = True
        self._parts[:0] = self._suspects
        self._suspects = []
