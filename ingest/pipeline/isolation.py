"""Finds the parts for which something was refused. It needs evidence, because an outage looks the same at first."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ingest.errors import BatchRefused, RowRefused

T = TypeVar("T")

UNPROVEN_MAX = 24
"""Commits that are tried until one succeeds: enough to find one event among a thousand, and its neighbors."""


class Isolation(Generic[T]):
    """Commits parts, and the halves of refused parts, within a number of commits.

    A part that cannot be halved is to blame if it fails after a neighbor was committed, and again after a probe. An
    outage that begins during the search ends it at the probe. A `RowRefused` is proof by itself. Until a neighbor is
    committed, the database may refuse everything.
    """

    def __init__(
        self, parts: Sequence[T], halves: Callable[[T], Sequence[T]], commits_max: int, *, proven: bool = False
    ) -> None:
        """The last part is tried first. `halves` returns nothing for a part that cannot be halved.

        `proven`: a neighbor was committed since these parts failed.
        """
        self.proven = proven
        self.committed = False
        self.reason: BatchRefused | None = None
        """The reason of the newest refusal."""
        self.blamed: list[tuple[T, BatchRefused]] = []
        self._parts = [*parts]
        self._suspects: list[T] = []
        self._halves = halves
        self._commits_max = commits_max
        self._commits = 0

    @property
    def left(self) -> Sequence[T]:
        """The parts that are neither committed nor to blame, in their first order."""
        return [*reversed(self._parts), *self._suspects]

    async def run(self, commit: Callable[[T], Awaitable[object]], probe: Callable[[], Awaitable[object]]) -> None:
        """Try the parts. `probe` raises `StoreError` if the database takes no commit.

        That error ends the run, as does an error of `commit` other than `BatchRefused`. Its part is left.
        """
        while self._parts and self._commits < (self._commits_max if self.proven else UNPROVEN_MAX):
            part = self._parts[-1]
            reason = await self._try(part, commit)
            halves = self._halves(part) if reason else ()
            if reason and not halves and self.proven and not isinstance(reason, RowRefused):
                await probe()
                reason = await self._try(part, commit)
            self._parts.pop()
            if reason is None:
                self._committed()
            elif halves:
                self._parts += halves
            elif self.proven or isinstance(reason, RowRefused):
                self.blamed.append((part, reason))
            else:
                self._suspects.append(part)

    async def _try(self, part: T, commit: Callable[[T], Awaitable[object]]) -> BatchRefused | None:
        """Return why the part is refused, or None if it is committed."""
        self._commits += 1
        try:
            await commit(part)
        except BatchRefused as exc:
            self.reason = exc
            return exc
        return None

    def _committed(self) -> None:
        """A neighbor is committed: parts that were refused before are tried once more, after all others."""
        self.proven = self.committed = True
        self._parts[:0] = self._suspects
        self._suspects = []
