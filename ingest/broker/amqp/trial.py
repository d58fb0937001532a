"""Publishes suspects on a connection of their own, in ever smaller groups, to find those that the broker refuses."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from ingest.broker.amqp.confirms import Pending
from ingest.broker.amqp.connection import ERRORS
from ingest.broker.amqp.reasons import ClosedByBroker, words_of
from ingest.broker.amqp.suspects import Suspects, halves
from ingest.broker.base import Priority
from ingest.clock import Monotonic
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch
from ingest.tasks import raise_if_cancelled

TRIES_MAX = 32
"""Tries in one trial: enough to find one message among a thousand by bisection, at a limited cost."""


class TrialConnection(Protocol):
    """An `AmqpConnection` with one channel, which only the trial uses."""

    @property
    def problem(self) -> str | None: ...
    def confirming(self, timeout_seconds: float) -> AbstractAsyncContextManager[None]: ...
    async def write(self, batch: Batch, priority: Priority) -> Pending: ...
    def drop(self, reason: str) -> None: ...
    async def close(self) -> None: ...


class Verdict(msgspec.Struct):
    """The outcome, by positions of the batch. The broker confirmed all other positions."""

    refused: list[int]
    """The broker sent a nack for these, or could not route them."""
    never: dict[int, str]
    """The broker never accepts these. Position → reason."""
    undecided: list[int]
    problem: str


class Trial:
    """Runs one trial at a time. Each try may take `timeout_seconds`, and no try starts later than that in a trial."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[TrialConnection]],
        suspects: Suspects,
        timeout_seconds: float,
        monotonic: Monotonic,
    ) -> None:
        self._connect = connect
        self._suspects = suspects
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._connection: TrialConnection | None = None

    async def run(self, batch: Batch, positions: Sequence[int]) -> Verdict:
        """Publish the batch's events at these positions, as far as the broker accepts them."""
        verdict = Verdict([], {}, [], "")
        ends_at = self._monotonic() + self._timeout_seconds
        async with self._lock:
            try:
                await self._try_all(batch, positions, verdict, ends_at)
            except (*ERRORS, BrokerUnavailable, asyncio.CancelledError) as exc:
                raise_if_cancelled(exc)
                verdict.problem = str(exc) if isinstance(exc, BrokerUnavailable) else words_of(exc)
            finally:
                await self._close()
        return verdict

    async def _try_all(self, batch: Batch, positions: Sequence[int], verdict: Verdict, ends_at: float) -> None:
        verdict.undecided = list(positions)
        groups = self._suspects.groups(batch, positions)
        for _ in range(TRIES_MAX):
            if not groups or self._monotonic() >= ends_at:
                break
            group = groups.pop(0)
            left = await self._try(batch, group, verdict)
            if len(group) > 1 and left:
                groups[:0] = [half for half in halves(batch, left) if half]
        for at in list(verdict.undecided):
            if reason := self._suspects.give_up(batch.ids[at]):
                verdict.undecided.remove(at)
                verdict.never[at] = reason
            verdict.problem = self._suspects.words(batch.ids[at]) or verdict.problem

    async def _try(self, batch: Batch, group: Sequence[int], verdict: Verdict) -> Sequence[int]:
        """Publish the group. Return the positions in flight if the broker closed the channel."""
        connection = await self._connected()
        async with connection.confirming(self._timeout_seconds):
            pending = await connection.write(batch.picked(group), "live")
            try:
                await pending.done
            except ClosedByBroker as exc:
                left = [group[at] for at in pending.unanswered]
                if len(group) == 1 and left:
                    (at,) = group
                    self._suspects.strike(batch.ids[at], len(batch.events[at].payload), exc.closed)
                verdict.problem = str(exc)
            else:
                left = []
        refused = {group[at] for at in pending.refused | pending.returned}
        taken = set(group) - refused - set(left)
        self._suspects.clear(batch, taken)
        verdict.refused += sorted(refused)
        verdict.undecided = [at for at in verdict.undecided if at not in refused | taken]
        return left

    async def _connected(self) -> TrialConnection:
        if self._connection is None or self._connection.problem:
            await self._close()
            self._connection = await self._connect()
        return self._connection

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.drop("The trial is over.")
            await connection.close()
