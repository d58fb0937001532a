"""A replay publishes each selected event, and retries only missing ones."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from ingest.broker.base import Priority
from ingest.cli.replay.progress import ProgressFile
from ingest.cli.replay.replay import PAGE, REFUSED_MAX, TRIES_MAX, Replay, ReplayFailed
from ingest.errors import BrokerUnavailable, NotConfirmed, SettingsError
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.store.event_query import EventFilter
from tests.unit.fakes import FakePublisher
from tests.unit.making import event

Sleep = Callable[[float], Awaitable[None]]

TARGET = "queue call-events at amqp://localhost:5672/"
TOO_LARGE = "A message of 17 MB is too large."


class Table:
    """A table of events with these ids."""

    def __init__(self, *ids: int) -> None:
        self.ids = list(ids)

    async def newest_id(self) -> int:
        return max(self.ids, default=0)

    async def count_events(self, selection: EventFilter) -> int:
        return len(self._selected(selection))

    async def read_events(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        return [(event_id, event()) for event_id in self._selected(selection)[:limit]]

    def _selected(self, selection: EventFilter) -> list[int]:
        within = (i for i in sorted(self.ids) if selection.first_id <= i <= selection.last_id)
        return [i for i in within if not selection.ids or i in selection.ids]


class Broker(FakePublisher):
    """Refuses `never` always, `later` at the first attempt, and everything while it is `away`."""

    def __init__(self, *, never: Sequence[int] = (), later: Sequence[int] = ()) -> None:
        super().__init__()
        self.never = set(never)
        self.later = set(later)
        self.away = False
        self.taken: list[int] = []

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        if self.away:
            raise BrokerUnavailable
        refused = [at for at, event_id in enumerate(batch.ids) if event_id in self.never | self.later]
        self.taken += [event_id for at, event_id in enumerate(batch.ids) if at not in refused]
        never = [at for at in refused if batch.ids[at] in self.never]
        self.later.clear()
        if refused:
            raise NotConfirmed(TOO_LARGE, refused, never)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replayed"


async def no_pause(seconds: float) -> None:
    pass


async def replay(
    table: Table, broker: Broker, path: Path | None = None, target: str = TARGET, sleep: Sleep = no_pause
) -> Replay:
    file = ProgressFile(path)
    replaying = Replay(table, broker, file.read(EventFilter(), target), file, None, lambda events: None, sleep)
    await replaying.begin()
    return replaying


async def test_only_missing_events_are_retried() -> None:
    broker = Broker(later=[2, 4])

    assert await (await replay(Table(1, 2, 3, 4, 5), broker)).run() == 5

    assert broker.taken == [1, 3, 5, 2, 4]


async def test_permanently_refused_events_are_reported_and_do_not_block_others(path: Path) -> None:
    broker = Broker(never=[2, 4])
    replaying = await replay(Table(1, 2, 3, 4, 5), broker, path)

    assert await replaying.run() == 3
    assert broker.taken == [1, 3, 5]
    with pytest.raises(ReplayFailed, match=f"never takes 2 of these events .2: {TOO_LARGE}; 4: {TOO_LARGE}"):
        replaying.check()

    again = await replay(Table(1, 2, 3, 4, 5), broker, path)
    assert await again.run() == 0
    with pytest.raises(ReplayFailed, match="never takes 2"):
        again.check()


async def test_replay_ends_if_the_broker_refuses_everything(path: Path) -> None:
    ids = range(1, 3 * REFUSED_MAX)
    replaying = await replay(Table(*ids), Broker(never=ids), path)

    with pytest.raises(ReplayFailed, match=f"more than {REFUSED_MAX}"):
        await replaying.run()

    assert len(replaying.progress.refused) <= REFUSED_MAX + PAGE


async def test_interrupted_page_continues_with_its_missing_events(path: Path) -> None:
    broker = Broker(later=[2])

    class Lost(Exception):
        pass

    async def interrupted(seconds: float) -> None:
        raise Lost

    with pytest.raises(Lost):
        await (await replay(Table(1, 2, 3), broker, path, sleep=interrupted)).run()
    assert broker.taken == [1, 3]

    again = await replay(Table(1, 2, 3), broker, path)
    assert await again.run() == 1
    again.check()
    assert broker.taken == [1, 3, 2]


async def test_replay_gives_up_while_the_broker_is_down_and_can_be_resumed(path: Path) -> None:
    broker = Broker()
    broker.away = True
    with pytest.raises(ReplayFailed, match=f"Tried {TRIES_MAX} times"):
        await (await replay(Table(1, 2), broker, path)).run()
    broker.away = False

    again = await replay(Table(1, 2), broker, path)

    assert (await again.run(), broker.taken) == (2, [1, 2])
    again.check()


async def test_events_after_the_start_are_left_out(path: Path) -> None:
    table, broker = Table(1, 2), Broker()
    replaying = await replay(table, broker, path)
    table.ids.append(3)
    await replaying.run()
    table.ids.append(4)

    await (await replay(table, broker, path)).run()

    assert broker.taken == [1, 2]


async def test_events_that_were_deleted_meanwhile_are_reported(path: Path) -> None:
    table, broker = Table(1, 2, 3), Broker()
    replaying = await replay(table, broker, path)
    table.ids.remove(2)

    assert await replaying.run() == 2
    with pytest.raises(ReplayFailed, match="1 of 3 events were not in the table any more: a day was dropped"):
        replaying.check()


async def test_file_of_another_target_is_refused(path: Path) -> None:
    await replay(Table(1), Broker(), path)

    with pytest.raises(SettingsError, match="belongs to the queue call-events at amqp://localhost:5672/, not to"):
        await replay(Table(1), Broker(), path, target="stream call-events at rabbitmq-stream://localhost:5552/")
