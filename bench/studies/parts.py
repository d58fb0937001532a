"""Measures each part of an event's path alone, on its real server: a plain insert, a commit, and each publish.

The parts take turns. Each part handles batches of new events, one batch at a time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

import click
import msgspec
import uvloop

from bench.harness import subentries, targets
from bench.harness.cpu import Components, cpu_seconds, used
from bench.harness.events import bodies
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table
from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.events.event import decode
from ingest.events.ids import IdGenerator
from ingest.outbox.settler import ENTRIES_MIN
from ingest.server.factories.broker import make_publisher
from ingest.server.factories.store import make_store
from ingest.settings import Settings
from ingest.store.mysql.migrate import migrate
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.statements.commit import insert_events

INSERT, COMMIT = "plain insert", "commit"
HEAD = ("part", "ms a batch", "client CPU µs an event", "database", "broker", "÷ plain insert: time", "server CPU")
METHOD = (
    "One process handles one batch at a time. The parts take turns of the given number of batches; each turn is a "
    "round. Client CPU time is this process's; server CPU time is utime + stime of the process trees. Figures are "
    "medians over rounds, ratios are medians of each round's ratio."
)
CONNECT_SECONDS = 20.0

Part = Callable[[Batch], Awaitable[object]]


class Turn(msgspec.Struct, frozen=True):
    """One part's round."""

    seconds_a_batch: float
    cpu_us: Mapping[str, float]
    """CPU µs an event, by component."""

    @property
    def server_us(self) -> float:
        return sum(value for name, value in self.cpu_us.items() if name != "client")


Turns = Mapping[str, Sequence[Turn]]


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    events: int
    batches: int
    turns: Turns


@click.command(help=__doc__)
@click.option("--rounds", default=7, show_default=True, help="Rounds that count; one more warms up.")
@click.option("--batches", default=150, show_default=True, help="Batches in one part's turn.")
@click.option("--events", default=100, show_default=True, help="Events a batch.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(rounds: int, batches: int, events: int, out: Path | None) -> None:
    with targets.servers() as servers:
        taken = stamp(servers)
        turns = uvloop.run(measure(servers, rounds, batches, events))
    record(Result(taken, METHOD, events, batches, turns), "parts", taken, out)
    print(table(HEAD, [row(name, turns) for name in turns]))


async def measure(servers: targets.Servers, rounds: int, batches: int, events: int) -> dict[str, list[Turn]]:
    maker = Maker(events)
    components = {**targets.if_ours("database", servers.mysql), **targets.if_ours("broker", servers.rabbitmq)}
    async with AsyncExitStack() as stack:
        parts = {name: await stack.enter_async_context(made) for name, made in _parts(servers).items()}
        turns: dict[str, list[Turn]] = {name: [] for name in parts}
        for number in range(rounds + 1):
            for name, part in parts.items():
                turn = await take_turn(part, [maker.batch() for _ in range(batches)], components)
                if number:
                    turns[name].append(turn)
    return turns


async def take_turn(part: Part, batches: Sequence[Batch], components: Components) -> Turn:
    before, client, started = cpu_seconds(components), time.process_time(), time.perf_counter()
    for batch in batches:
        await part(batch)
    seconds, client_seconds = time.perf_counter() - started, time.process_time() - client
    servers = used(before, cpu_seconds(components))
    events = sum(map(len, batches))
    cpu_us = {name: value * 1e6 / events for name, value in {"client": client_seconds, **servers}.items()}
    return Turn(seconds / len(batches), cpu_us)


def row(name: str, turns: Turns) -> list[str]:
    """Return a part's medians, in the order of `HEAD`."""
    own = turns[name]
    cells = [
        name,
        f"{median(turn.seconds_a_batch for turn in own) * 1e3:.2f}",
        *(
            f"{median(turn.cpu_us[component] for turn in own):.1f}" if component in own[0].cpu_us else "-"
            for component in ("client", "database", "broker")
        ),
    ]
    return cells + (_ratios(own, turns[INSERT]) if name == COMMIT else ["", ""])


def _ratios(own: Sequence[Turn], plain: Sequence[Turn]) -> list[str]:
    pairs = list(zip(own, plain, strict=True))
    wall = median(a.seconds_a_batch / b.seconds_a_batch for a, b in pairs)
    server = median(a.server_us / b.server_us for a, b in pairs) if plain[0].server_us else None
    return [f"{wall:.2f}", f"{server:.2f}" if server else "-"]


class Maker:
    """Makes batches of different events, with ids as a worker makes them."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._ids = IdGenerator(0, unix_us)

    def batch(self) -> Batch:
        events = [decode(body) for body in bodies(self._events)]
        return Batch(self._ids.take(len(events)), events, unix_us())


def _parts(servers: targets.Servers) -> dict[str, AbstractAsyncContextManager[Part]]:
    url = servers.mysql.fresh_database()
    settings = Settings(database_url=url, broker_url=servers.rabbitmq.amqp_url, stream_url=servers.rabbitmq.stream_url)
    publishing = {
        f"publish, {mode}": _publish(msgspec.structs.replace(settings, queue=servers.rabbitmq.fresh_queue_name()), mode)
        for mode in targets.MODES
    }
    in_sub_entries = {
        f"stream, sub-entries, {name}": subentries.publish(
            settings.stream_url, servers.rabbitmq.fresh_queue_name(), name
        )
        for name in subentries.COMPRESSIONS
    }
    return {INSERT: plain_insert(url), COMMIT: _commit(settings), **publishing, **in_sub_entries}


@asynccontextmanager
async def plain_insert(url: str) -> AsyncIterator[Part]:
    """Insert the same rows without the outbox, in plain SQL. This part runs first, so it creates the tables."""
    servers = Servers.parse(url)
    await migrate(servers, CONNECT_SECONDS)
    connection = await servers.connect(CONNECT_SECONDS, autocommit=False)
    try:
        yield lambda batch: connection.run(insert_events(batch) + b";COMMIT")
    finally:
        await connection.end()


@asynccontextmanager
async def _commit(settings: Settings) -> AsyncIterator[Part]:
    """Commit as a worker does: some commits also settle the outbox entries of earlier batches."""
    store = make_store(settings)
    unsettled: list[int] = []

    async def commit(batch: Batch) -> None:
        due = list(unsettled) if len(unsettled) >= ENTRIES_MIN else []
        await store.commit(batch, lease_seconds=settings.lease_seconds, settled=due)
        del unsettled[: len(due)]
        unsettled.append(batch.first_id)

    try:
        yield commit
    finally:
        await store.close()


@asynccontextmanager
async def _publish(settings: Settings, mode: targets.Mode) -> AsyncIterator[Part]:
    publish_to, queue_type = ("stream", "quorum") if mode == "stream" else ("queue", mode)
    publisher = make_publisher(msgspec.structs.replace(settings, publish_to=publish_to, queue_type=queue_type))
    await publisher.start()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            while not publisher.ready:  # noqa: ASYNC110 - the publisher has no event to wait for
                await asyncio.sleep(0.05)
        yield publisher.publish
    finally:
        await publisher.close()


if __name__ == "__main__":
    main()
