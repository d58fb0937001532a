"""Lets a store take no events while its tables would lose them: compared at start, and then each minute."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ingest.clock import Monotonic
from ingest.errors import SchemaError, StoreUnavailable
from ingest.store.mysql.schema import Report

log = logging.getLogger("ingest.schema")

CHECK_SECONDS = 60.0
WRONG_SECONDS = 5.0
"""Between two looks while something is wrong: what was mended is to work soon."""


class SchemaGuard:
    """`look` is asked by `check`, at most that often; `refuse` costs nothing."""

    def __init__(self, look: Callable[[], Awaitable[Report]], monotonic: Monotonic) -> None:
        self._look = look
        self._monotonic = monotonic
        self._asking = asyncio.Lock()
        self._due = float("-inf")
        self._problem: str | None = None
        self._told: Sequence[str] = ()
        self.seen = False
        self.unfinished: str | None = None
        """What was interrupted, for people; events are stored all the same."""

    async def check(self) -> None:
        """Look, if it is due. Raises `SchemaError` if events would be lost, and what `look` raises."""
        async with self._asking:
            if self._monotonic() >= self._due:
                await self._look_again()
        self.refuse()

    async def check_once(self) -> None:
        """As `check`, but without a second look."""
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
            # A change of a table holds up the question, and no event: what was seen before still counts.
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
        self._tell([*report.stops, *report.unfinished, *report.costs])

    def _tell(self, differences: Sequence[str]) -> None:
        """Once, until they change."""
        if differences and differences != self._told:
            log.warning("the database's tables are not as this version made them", extra={"differences": differences})
        self._told = differences
