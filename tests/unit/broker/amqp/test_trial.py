"""A trial publishes suspects apart from others: it finds the message that the broker closes channels for."""

import asyncio
from collections.abc import Collection

import pytest

from ingest.broker.amqp.confirms import ConfirmWindow, Pending
from ingest.broker.amqp.reasons import Closed, ClosedByBroker
from ingest.broker.amqp.suspects import PAUSE_SECONDS_MAX, STRIKES_MAX, Suspects
from ingest.broker.amqp.trial import TRIES_MAX, Trial
from ingest.broker.base import Priority
from ingest.broker.supervisor import Connection
from ingest.errors import BrokerUnavailable
from ingest.events.batch import Batch
from tests.unit.fakes import FakeClock, opened
from tests.unit.making import NOW_US, batch

UNNAMED = Closed(541, "INTERNAL_ERROR", by_a_message=True)


class FakeBroker:
    """Closes the connection on a `poison` message, confirms messages before it, and returns `returned` ones."""

    def __init__(self) -> None:
        self.poison: Collection[int] = ()
        self.returned: Collection[int] = ()
        self.connections: list[FakeConnection] = []
        self.error: Exception | None = None
        self.published: list[int] = []
        self.tries = 0
        self.gate = opened()

    async def connect(self) -> "FakeConnection":
        await self.gate.wait()
        if self.error:
            raise self.error
        self.connections.append(FakeConnection(self))
        return self.connections[-1]


class FakeConnection(Connection):
    def __init__(self, broker: FakeBroker) -> None:
        super().__init__()
        self._broker = broker
        self.closed = False

    async def write(self, batch: Batch, priority: Priority) -> Pending:
        window = ConfirmWindow()
        pending = window.add(batch, asyncio.get_running_loop().create_future())
        self._broker.tries += 1
        poisoned = [at for at, event_id in enumerate(batch.ids) if event_id in self._broker.poison]
        taken = batch.ids[: poisoned[0]] if poisoned else batch.ids
        for at, event_id in enumerate(taken):
            if event_id in self._broker.returned:
                window.returned(event_id)
            else:
                self._broker.published.append(event_id)
            window.answer(at + 1, multiple=False, refused=False)
        if poisoned:
            self.drop(str(UNNAMED))
            window.fail(lambda: ClosedByBroker(UNNAMED))
        return pending

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def suspects(clock: FakeClock) -> Suspects:
    return Suspects(clock.monotonic)


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def trial(broker: FakeBroker, suspects: Suspects, clock: FakeClock) -> Trial:
    return Trial(broker.connect, suspects, 10.0, clock.monotonic)


async def test_one_of_a_thousand_is_found_and_all_others_are_published_once(
    trial: Trial, broker: FakeBroker, suspects: Suspects
) -> None:
    made = batch(1000)
    broker.poison = {made.ids[617]}
    verdict = await trial.run(made, suspects.accuse(made, range(1000), UNNAMED, sizes_explain=True))
    assert (verdict.undecided, verdict.refused, verdict.never) == ([617], [], {})
    assert "541 INTERNAL_ERROR" in verdict.problem
    assert sorted(broker.published) == [event_id for event_id in made.ids if event_id not in broker.poison]
    assert broker.tries <= TRIES_MAX
    assert all(connection.closed for connection in broker.connections)


async def test_it_is_given_up_after_its_strikes_while_others_are_confirmed(
    trial: Trial, broker: FakeBroker, suspects: Suspects, clock: FakeClock
) -> None:
    made = batch(3)
    broker.poison = {made.ids[1]}
    left = list(suspects.accuse(made, range(3), UNNAMED, sizes_explain=True))
    for strike in range(STRIKES_MAX):
        suspects.confirmed(1)
        verdict = await trial.run(made, left)
        left = verdict.undecided
        assert bool(verdict.never) == (strike == STRIKES_MAX - 1)
        clock.advance(PAUSE_SECONDS_MAX)
    assert "541 INTERNAL_ERROR" in verdict.never[1]


async def test_nothing_is_given_up_of_a_broker_that_closes_on_everything(
    trial: Trial, broker: FakeBroker, suspects: Suspects, clock: FakeClock
) -> None:
    made = batch(200)
    broker.poison = set(made.ids)
    suspects.accuse(made, range(200), UNNAMED, sizes_explain=True)
    for number in range(1, 20):
        verdict = await trial.run(made, range(200))
        assert (verdict.undecided, verdict.never) == (list(range(200)), {})
        assert broker.tries <= number * TRIES_MAX
        clock.advance(PAUSE_SECONDS_MAX)


async def test_unroutable_message_is_refused_and_a_struck_one_pauses(
    trial: Trial, broker: FakeBroker, suspects: Suspects
) -> None:
    made = batch(4)
    broker.returned, broker.poison = {made.ids[0]}, {made.ids[3]}
    positions = suspects.accuse(made, range(4), UNNAMED, sizes_explain=True)
    verdict = await trial.run(made, positions)
    assert (verdict.refused, verdict.undecided) == ([0], [3])
    tries = broker.tries
    verdict = await trial.run(made, [3])
    assert (verdict.undecided, broker.tries) == ([3], tries)


@pytest.mark.parametrize("error", [OSError("no more connections"), BrokerUnavailable("no more connections")])
async def test_nothing_is_decided_without_a_connection(
    trial: Trial, broker: FakeBroker, suspects: Suspects, error: Exception
) -> None:
    made = batch(2)
    broker.error = error
    verdict = await trial.run(made, suspects.accuse(made, range(2), UNNAMED, sizes_explain=True))
    assert (verdict.undecided, verdict.never, verdict.refused) == ([0, 1], {}, [])
    assert "no more connections" in verdict.problem


async def test_trial_that_waited_for_another_past_its_time_tries_nothing(
    trial: Trial, broker: FakeBroker, suspects: Suspects, clock: FakeClock
) -> None:
    first, second = batch(2), batch(2, us=NOW_US + 1000)
    broker.gate.clear()
    accused = [suspects.accuse(made, range(2), UNNAMED, sizes_explain=True) for made in (first, second)]
    heard = [asyncio.create_task(trial.run(*each)) for each in zip((first, second), accused, strict=True)]
    await asyncio.sleep(0)
    clock.advance(11.0)
    broker.gate.set()
    assert [verdict.undecided for verdict in await asyncio.gather(*heard)] == [[], [0, 1]]
    assert broker.published == list(first.ids)
