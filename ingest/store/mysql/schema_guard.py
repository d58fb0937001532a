"""Stops a store from taking events while its tables would lose them. It compares them at start, then every minute."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ingest.clock import Monotonic
from ingest.errors import SchemaError, StoreUnavailable
from ingest.store.mysql.schema import Report

log = logging.getLogger("ingest.schema")

CHECK_SECONDS = 60.0
WRONG_SECONDS = 5.0
"""The interval while something is wrong, so that the store works soon after a repair."""


class SchemaGuard:
    """`check` calls `look` at most that often. `refuse` only tests the last result."""

    def __init__(self, look: Callable[[], Awaitable[Report]], monotonic: Monotonic) -> None:
        self._look = look
        self._monotonic = monotonic
        self._asking = asyncio.Lock()
        self._due = float("-inf")
        self._problem: str | None = None
        self._logged: Sequence[str] = ()
        self.seen = False
        self.unfinished: str | None = None
        """An interrupted change, as a text for operators. Events are stored all the same."""

    async def check(self) -> None:
        """Look, if it is due. Raises `SchemaError` if events would be lost, and the errors of `look`."""
        async with self._asking:
            if self._monotonic() >= self._due:
                await self._look_again()
        self.refuse()

    async def check_once(self) -> None:
        """Like `check`, but looks only the first time."""
        if not self.seen:
            await self.check()
        self.refuse()

    def refuse(self) -> None:
        """Raises `SchemaError` if the last look found that events would be lost."""
        if self._problem:
            raise SchemaError(self._problem)

    async def _look_again(self) -> None:
        try:
            self._note(await self._look())
        except StoreUnavailable:
            # A change of a table may block the look, but no event: the last result still counts.
            if not self.seen:
                raise
            self._due = self._monotonic() + WRONG_SECONDS

    def _note(self, report: Report) -> None:
        self.seen = True
        self.unfinished = " ".join(report.unfinished) or None
        try:
            report.raise_for_stops()
            self._problem = None
        except SchemaError as exc:
            self._problem = str(exc)
        wrong = self._problem or self.unfinished
        self._due = self._monotonic() + (WRONG_SECONDS if wrong else CHECK_SECONDS)
        self._log([*report.stops, *report.unfinished, *report.costs])

    def _log(self, differences: Sequence[str]) -> None:
        """Log the differences again only if they change."""
        if differences and differences != self._logged:
            log.warning("the database's tables are not as this version made them", extra={"differences": differences})
        self._logged = differences
