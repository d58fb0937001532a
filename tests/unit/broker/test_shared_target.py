"""All workers of a database share one target, which changes only when no worker uses the old one."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ingest.broker.shared_target import SharedTarget
from ingest.broker.target_record import (
    LIVE_SECONDS,
    RecordedWorker,
    Target,
    TargetRecord,
    explain_difference,
    same_target,
    target_of,
)
from ingest.errors import StoreUnavailable
from ingest.settings import Settings
from tests.unit.fakes import FakeClock

QUEUE: Target = {"INGEST_PUBLISH_TO": "queue", "INGEST_QUEUE": "calls"}
STREAM: Target = {"INGEST_PUBLISH_TO": "stream", "INGEST_QUEUE": "calls", "INGEST_STREAM_PARTITIONS": 3}


class Table:
    """The record in memory. `seen` are the workers that another worker would see."""

    def __init__(self, shared: Target | None = None, *, waiting: bool = False, away: bool = False) -> None:
        self.shared = shared
        self.waiting = waiting
        self.away = away
        self.seen: list[RecordedWorker] = []
        self.left: list[str] = []

    async def share(self, worker: str, node: str, target: Target, replaces: Callable[[TargetRecord], bool]) -> Target:
        if self.away:
            raise StoreUnavailable
        differs = self.shared is None or not same_target(self.shared, target)
        if differs and replaces(TargetRecord(self.shared, self.seen, self.waiting)):
            self.shared = target
        assert self.shared is not None
        return self.shared

    async def record(self) -> TargetRecord:
        return TargetRecord(self.shared, self.seen, self.waiting)

    async def leave(self, worker: str) -> None:
        self.left.append(worker)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def shared_target(table: Table | None, target: Target, folder: Path, clock: FakeClock) -> SharedTarget:
    return SharedTarget(table, "a worker", "here:8000", target, folder / "agreed.json", clock.monotonic)


async def test_first_worker_decides_and_others_follow(tmp_path: Path, clock: FakeClock) -> None:
    table = Table()
    first, other = (
        shared_target(table, QUEUE, tmp_path / "1", clock),
        shared_target(table, STREAM, tmp_path / "2", clock),
    )
    assert first.problem()
    assert other.problem()
    await first.look()
    assert first.problem() is None
    table.seen = [RecordedWorker("there:8000", QUEUE, 1.0)]
    await other.look()
    problem = other.problem() or ""
    assert "INGEST_PUBLISH_TO=stream" in problem
    assert "INGEST_PUBLISH_TO=queue" in problem
    assert "live nodes with it: there:8000" in problem
    assert "INGEST_QUEUE" not in problem.split("This node stores")[0]


async def test_target_is_replaced_when_all_who_had_it_have_left(tmp_path: Path, clock: FakeClock) -> None:
    switched = shared_target(Table(QUEUE), STREAM, tmp_path, clock)
    await switched.look()
    assert switched.problem() is None


async def test_target_of_dead_workers_is_replaced_after_a_wait(tmp_path: Path, clock: FakeClock) -> None:
    """A worker may be alive although the database, which was down, has not seen it."""
    table = Table(QUEUE)
    table.seen = [RecordedWorker("there:8000", QUEUE, 2 * LIVE_SECONDS)]
    switched = shared_target(table, STREAM, tmp_path, clock)
    await switched.look()
    assert "waiting 30 s" in (switched.problem() or "")
    clock.advance(LIVE_SECONDS - 1)
    table.seen = [RecordedWorker("there:8000", QUEUE, 1.0)]
    await switched.look()
    assert "live nodes with it: there:8000" in (switched.problem() or "")
    table.seen = [RecordedWorker("there:8000", QUEUE, LIVE_SECONDS)]
    clock.advance(2)
    await switched.look()
    assert "waiting 30 s" in (switched.problem() or "")
    clock.advance(LIVE_SECONDS)
    await switched.look()
    assert switched.problem() is None


async def test_target_is_not_replaced_while_events_wait_for_it(tmp_path: Path, clock: FakeClock) -> None:
    table = Table(QUEUE, waiting=True)
    switched = shared_target(table, STREAM, tmp_path, clock)
    await switched.look()
    assert "events wait in the outbox" in (switched.problem() or "")
    table.waiting = False
    await switched.look()
    assert switched.problem() is None


async def test_without_the_database_a_worker_uses_the_saved_target(tmp_path: Path, clock: FakeClock) -> None:
    table = Table()
    await shared_target(table, QUEUE, tmp_path, clock).look()
    table.away = True
    for target, may in ((QUEUE, True), (STREAM, False)):
        again = shared_target(table, target, tmp_path, clock)
        with pytest.raises(StoreUnavailable):
            await again.look()
        assert (again.problem() is None) is may
    assert shared_target(table, QUEUE, tmp_path / "new", clock).problem()


async def test_worker_stops_publishing_when_the_target_changes(tmp_path: Path, clock: FakeClock) -> None:
    table = Table(QUEUE)
    late = shared_target(table, QUEUE, tmp_path, clock)
    await late.look()
    table.shared = STREAM
    table.seen = [RecordedWorker("there:8000", STREAM, 1.0)]
    await late.look()
    assert "live nodes with it: there:8000" in (late.problem() or "")


async def test_full_disk_does_not_stop_publishing(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").touch()
    noting_nothing = shared_target(Table(QUEUE), QUEUE, tmp_path / "file", clock)
    await noting_nothing.look()
    assert noting_nothing.problem() is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b'{"a": null}'])
def test_damaged_memory_is_none(content: bytes, tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "agreed.json").write_bytes(content)
    assert shared_target(Table(), QUEUE, tmp_path, clock).problem()


async def test_database_without_a_record_needs_no_look(tmp_path: Path, clock: FakeClock) -> None:
    alone = shared_target(None, QUEUE, tmp_path, clock)
    await alone.wait_for_first_look()
    await alone.look()
    await alone.leave()
    assert alone.problem() is None


async def test_worker_that_stops_leaves_the_record(tmp_path: Path, clock: FakeClock) -> None:
    table = Table()
    await shared_target(table, QUEUE, tmp_path, clock).leave()
    assert table.left == ["a worker"]


def test_settings_that_another_version_does_not_know_are_not_compared() -> None:
    assert same_target({**QUEUE, "INGEST_NEW": 1}, QUEUE)
    assert not same_target({**QUEUE, "INGEST_QUEUE": "other"}, QUEUE)


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({}, True),
        ({"queue_type": "classic"}, True),
        ({"stream_partitions": 4}, True),
        ({"broker_url": "amqp://other:secret@one:5673,two/%2F"}, True),
        ({"broker_url": "amqp://localhost/calls"}, False),
        ({"broker_url": "embedded:"}, False),
        ({"queue": "other"}, False),
        ({"publish_to": "stream", "stream_url": "rabbitmq-stream://localhost/"}, False),
    ],
)
def test_target_has_the_settings_that_all_nodes_share(change: dict[str, str | int], alike: bool) -> None:
    settings = Settings(broker_url="amqp://guest:guest@localhost/")
    assert same_target(target_of(settings), target_of(msgspec.structs.replace(settings, **change))) is alike
    assert "secret" not in str(target_of(msgspec.structs.replace(settings, **change)))


def test_exchange_and_keys_are_part_of_the_target() -> None:
    plain = target_of(Settings(broker_url="amqp://mq/"))
    routed = target_of(Settings(broker_url="amqp://mq/", exchange="calls"))
    by_token = target_of(Settings(broker_url="amqp://mq/", exchange="calls", routing_key="{token}"))

    assert "INGEST_EXCHANGE" not in plain  # a target of a version without exchanges is the same
    assert same_target(plain, plain)
    assert not same_target(plain, routed)
    assert not same_target(routed, plain)
    assert not same_target(routed, by_token)
    said = explain_difference(plain, routed, "a reason")
    assert "This node has INGEST_EXCHANGE= INGEST_ROUTING_KEY=, but all nodes of the database share" in said
    assert "INGEST_EXCHANGE=calls INGEST_ROUTING_KEY={event_type}: a reason" in said


def test_filter_of_a_stream_is_part_of_the_target() -> None:
    stream = Settings(publish_to="stream", stream_url="rabbitmq-stream://mq/")
    filtered = msgspec.structs.replace(stream, stream_filter="token")

    assert not same_target(target_of(stream), target_of(filtered))
