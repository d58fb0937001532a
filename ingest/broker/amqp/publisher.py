"""The publisher for RabbitMQ's queues, through aio-pika: a pool of confirming channels."""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial

from ingest.broker.amqp.channel import FewerChannels
from ingest.broker.amqp.connection import LOOK_SECONDS, AmqpConnection
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.amqp.reasons import ClosedByBroker
from ingest.broker.amqp.suspects import Suspects
from ingest.broker.amqp.trial import Trial
from ingest.broker.base import Held, Priority, not_held
from ingest.broker.supervisor import SupervisedPublisher
from ingest.errors import NotConfirmed
from ingest.events.batch import Batch
from ingest.failover import FailoverHosts, each_host
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver

TRIES_MAX = 3
TRY_PAUSE_SECONDS = 0.1
"""Attempts for a refused message, with growing pauses, before the relay takes over. Pauses start at this time."""


class AmqpPublisher(SupervisedPublisher[AmqpConnection]):
    """See `ingest.broker.base.Publisher`.

    If the broker closes a channel because of a message, the publisher opens it again, and republishes the messages that
    were in flight. It leaves out the suspects: messages that may be the cause (`ingest.broker.amqp.suspects`). The
    relay publishes those in a trial, alone on another connection.
    """

    def __init__(
        self,
        url: str,
        declaration: QueueDeclaration,
        observer: ConnectionObserver = NO_OBSERVER,
        held: Held = not_held,
        *,
        channels_max: int,
        confirm_timeout_seconds: float,
        connect_timeout_seconds: float,
        reconnect_seconds_max: float,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`look_seconds`: see `AmqpConnection.until_lost`."""
        self._look_seconds = look_seconds
        self._hosts = FailoverHosts(each_host(url))
        self._declaration = declaration
        self._channels_max = channels_max
        self._connect_timeout_seconds = connect_timeout_seconds
        super().__init__(self._connect, reconnect_seconds_max, observer, held)
        self._observer = observer
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._suspects = Suspects(time.monotonic)
        self._trial = Trial(partial(self._connected, 1), self._suspects, confirm_timeout_seconds, time.monotonic)

    @property
    def problem(self) -> str | None:
        return super().problem or self._suspects.problem

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        suspects = self._suspects.among(batch)
        refused: Sequence[int] = ()
        if len(suspects) < len(batch):
            refused, accused = await self._publish(batch, _others(range(len(batch)), suspects), priority)
            self._suspects.confirmed(len(batch) - len(suspects) - len(refused) - len(accused))
            suspects = sorted([*suspects, *accused]) if accused else suspects
        if refused or suspects:
            await self._judge(batch, refused, suspects, priority)

    async def _judge(self, batch: Batch, refused: Sequence[int], suspects: Sequence[int], priority: Priority) -> None:
        """Try the suspects apart, if this is the relay, which has the time. Raises `NotConfirmed` with the rest."""
        never: Mapping[int, str] = {}
        words = f"RabbitMQ closed a channel, {self._suspects.said}" if suspects else "RabbitMQ refused them"
        if suspects and priority == "relay":
            verdict = await self._trial.run(batch, suspects)
            refused, suspects, never = [*refused, *verdict.refused], verdict.undecided, verdict.never
            words = verdict.problem or words
        left = sorted([*refused, *suspects, *never])
        if left:
            message = f"{len(left)} of {len(batch)} messages are not published: {words}."
            raise NotConfirmed(message, left, sorted(never), suspects, never)

    async def _publish(
        self, batch: Batch, positions: Sequence[int], priority: Priority
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Publish these positions. Return the refused ones, and those that may be why the broker closed the channel."""
        connection = self._supervisor.connection()
        accused: list[int] = []
        async with connection.turn(priority), connection.confirming(self._confirm_timeout_seconds):
            for attempt in range(TRIES_MAX):
                if attempt:
                    await asyncio.sleep(TRY_PAUSE_SECONDS * 2 ** (attempt - 1))
                    self._observer.retried(len(positions))
                pending = await connection.write(batch.picked(positions), priority)
                try:
                    await pending.done
                except ClosedByBroker as exc:
                    left = [positions[at] for at in pending.unanswered]
                    # The broker's words about sizes explain the first time only. Later all unanswered are suspects.
                    accused += self._suspects.accuse(batch, left, exc.closed, sizes_explain=not attempt)
                positions = _others([positions[at] for at in pending.untaken], accused)
                if not positions:
                    break
                if pending.returned:
                    await connection.declare_again()
        return positions, accused

    async def _connect(self) -> AmqpConnection:
        try:
            return await self._connected(self._channels_max)
        except FewerChannels as exc:
            self._channels_max = exc.count
            raise

    async def _connected(self, channels_max: int) -> AmqpConnection:
        def connect(to: str) -> Awaitable[AmqpConnection]:
            limits = channels_max, self._connect_timeout_seconds, self._look_seconds
            return AmqpConnection.open(to, self._declaration, *limits)

        return await self._hosts.connected(connect)


def _others(positions: Sequence[int], but: Sequence[int]) -> Sequence[int]:
    known = set(but)
    return [at for at in positions if at not in known] if known else positions
