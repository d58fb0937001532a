"""The course of a schedule: it begins nodes and clients, lets faults happen, ends them, and waits for all work."""

import asyncio

from ingest.pipeline.id_lease import RENEW_SECONDS
from ingest.server.pipeline import Pipeline
from tests.simulation.clients import Client
from tests.simulation.faults import Faults
from tests.simulation.ledger import Violation, check
from tests.simulation.machine.loop import Process
from tests.simulation.subjects.tokens import Admission, Operator
from tests.simulation.workers import Life, Limits, settings_of
from tests.simulation.world import World

CLIENTS = (6, 20, 40, 3)
EVENTS = 520
START_POLL_SECONDS = 0.1
TOKEN_WORLDS = 2
"""An operator changes the tokens of the database in every second world."""
SETTLE_SECONDS = 240.0
"""Once faults end, all work must be done within this virtual time."""
STOP_SECONDS_MAX = 4.0
ROUNDS = 8
LATE_WORLDS = 16
"""In one world of this many, workers renew the leases of their id slots while the faults happen."""
POLL_SECONDS = 0.5
TICK_SECONDS = 0.25
"""In half of all worlds clients send at multiples of this time, so that a batch has events of several requests."""


class Schedule:
    def __init__(self, world: World) -> None:
        self._world = world
        self._faults = Faults(world)
        self._admission = Admission(None, world.promises.breaks)
        self._tick_seconds = 0.0

    async def run(self) -> None:
        world = self._world
        chance = world.chance
        world.limits = _limits(world)
        world.archive.mkdir()
        for _ in range(1 + chance.pick("further nodes", 2)):
            node = world.add_node()
            if not world.servers.keeps_order:
                node.clock_ahead_us = (0, int(chance.seconds("clock is ahead", 0.0, 2.0) * 1e6))[
                    chance.pick("clock", 2)
                ]
                node.clock_grain_us = (1, 1, 20_000, 200_000)[chance.pick("grain of the clock", 4)]
            for _ in range(1 + chance.pick("further workers", 2)):
                world.begin_life(node)
        world.loop.look = world.promises.look
        operator = self._begin_operator()
        await self._first_worker()
        if not (world.ids.leases_are_short or chance.pick("a while without clients", LATE_WORLDS)):
            await asyncio.sleep(chance.seconds("until the clients begin", RENEW_SECONDS - 15.0, RENEW_SECONDS))
        self._tick_seconds = (0.0, TICK_SECONDS)[chance.pick("clients act together", 2)]
        clients = CLIENTS[chance.pick("number of clients", len(CLIENTS))]
        tasks = [self._client(number, EVENTS // clients) for number in range(clients)]
        for _ in range(ROUNDS):
            await asyncio.sleep(chance.seconds("until the next round of faults", 0.1, 1.5))
            self._faults.round()
        await asyncio.wait(tasks)
        if operator:
            operator.cancel()
        self._faults.end()
        world.chance.calm = True
        await self._settle()
        check(world.ledger.accepted, "no event was accepted: this schedule proves nothing")
        world.promises.at_end()
        for life in world.lives:
            self._admission.check(life, world.system.us_of(life.process.node))
        began = world.loop.time()
        await asyncio.gather(*(world.loop.in_process(life.process, _stopped(life), "stop") for life in world.lives))
        seconds = world.loop.time() - began
        check(seconds < STOP_SECONDS_MAX, "idle workers needed {:.1f} s to stop", seconds)
        world.promises.at_end()

    async def _first_worker(self) -> None:
        """Wait until a worker takes events. Before that, clients could give up, and nothing would be proven."""
        while not any(life.accepting for life in self._world.lives):  # noqa: ASYNC110 - a life may end before
            await asyncio.sleep(START_POLL_SECONDS)

    def _client(self, number: int, events: int) -> "asyncio.Task[None]":
        world = self._world
        marks, answered = world.servers.marks, world.promises.answered
        admission = self._admission
        client = Client(
            str(number),
            world.loop,
            world.chance,
            world.ledger,
            world.lives,
            marks,
            answered,
            admission,
            self._tick_seconds,
        )
        world.processes.append(client.process)
        return world.loop.in_process(client.process, client.run(events), "client")

    def _begin_operator(self) -> "asyncio.Task[None] | None":
        """In some worlds somebody changes the tokens of the database."""
        world = self._world
        if world.chance.pick("tokens", TOKEN_WORLDS) < TOKEN_WORLDS - 1:
            return None
        process = Process("operator")
        world.processes.append(process)
        operator = Operator(world.chance, world.servers.operator(settings_of(world.nodes[0], world.limits), process))
        self._admission = Admission(operator, world.promises.breaks)
        return world.loop.in_process(process, operator.run(world.say), "operator")

    async def _settle(self) -> None:
        """Wait until nothing is left to do."""
        world = self._world
        until = world.loop.time() + SETTLE_SECONDS
        while left := await self._left():
            if world.loop.time() > until:
                raise Violation(f"not done {SETTLE_SECONDS:g} s after the last fault: {left}")
            await asyncio.sleep(POLL_SECONDS)

    async def _left(self) -> str | None:
        world = self._world
        if entries := world.servers.entries:
            return f"{len(entries)} entries in the outbox, the first with id {min(entries)}"
        if due := world.servers.due(world.system.us_of(None)):
            return due
        if world.restarts or not all(life.accepting for life in world.lives):
            return "workers do not start"
        for node in world.nodes:
            promises = world.promises
            waiting = [one for one in promises.only_on_disk(node) if not promises.may_be_set_aside(one)]
            if waiting:
                return f"{len(waiting)} events in the spool of {node.name}"
        for life in world.lives:
            if life.pipeline and (left := await self._left_in(life, life.pipeline)):
                return left
        return None

    async def _left_in(self, life: Life, pipeline: Pipeline) -> str | None:
        if pipeline.spool:
            usage = await pipeline.spool.store.usage()
            if usage.records > self._world.promises.unproven(life.process.node):
                return f"{usage.records} records in the spool of {life.process.name}"
        if life.unanswered:  # it may have been frozen until now
            return f"{life.unanswered} requests of {life.process.name} have no answer"
        if pipeline.unfinished_events:
            return f"{pipeline.unfinished_events} events in {life.process.name}"
        return self._admission.left(life)


async def _stopped(life: Life) -> None:
    try:
        await life.stop()
    except Exception as exc:
        raise Violation(f"{life.process.name} does not stop: {exc!r}") from exc


def _limits(world: World) -> Limits:
    chance = world.chance
    return Limits(
        spool_bytes_max=(1 << 24, 1 << 24, 20_000, 0)[chance.pick("size of the spool", 4)],
        writers=1 + chance.pick("further writers", 2),
        batch_events_max=(4, 40, 40, 40, 40, 40, 40, 40)[chance.pick("size of a batch", 8)],
        queue_events_max=(400, 60)[chance.pick("size of the queue", 2)],
        retention_days=world.servers.retention_days,
        archive=str(world.archive) if world.servers.archives else "",
        stream=world.servers.stream,
        inflight_events_max=(300, 50)[chance.pick("events in flight", 2)],
        drain_seconds=(4.0, 0.05)[chance.pick("seconds of a drain", 2)],
    )
