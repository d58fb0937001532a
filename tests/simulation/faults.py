"""The faults of a schedule. Each one that may happen is a decision of its own, so that it can be left out."""

import asyncio
from collections.abc import Callable
from functools import partial

from ingest.cli.spool.command import ask_owners
from tests.simulation.servers import ServerFault
from tests.simulation.subjects.folders import Folders
from tests.simulation.workers import Life
from tests.simulation.world import World

NODES_MAX = 4
WRONG_DAYS, DAY_US = 10.0, 86_400_000_000
COARSE_US = 200_000
RIGHT_US = 2_000_000
"""A clock that is wrong by no more may stay so."""


class Faults:
    def __init__(self, world: World) -> None:
        self._world = world
        folders = Folders(world)
        self._kinds: dict[str, tuple[float, Callable[[], object]]] = {
            "kill": (0.12, self._kill),
            "worker leaves for good": (0.04, self._leave),
            "death in a system call": (0.10, self._doom),
            "power cut": (0.05, self._cut_power),
            "copy of the folder": (0.03, self._copy),
            "planned restart": (0.08, self._restart),
            "freeze": (0.08, self._freeze),
            "disk is full": (0.06, self._disk_full),
            "disk fails": (0.05, self._disk_fails),
            "syncs lie": (0.03, self._syncs_lie),
            "clock steps": (0.06, self._clock_steps),
            "id slots are lost": (0.02, self._lose_slots),
            "id slots are forgotten": (0.04, folders.forget_slots),
            "spool file is deleted": (0.03, folders.delete_file),
            "spool file is damaged": (0.05, folders.damage_file),
            "snapshot of a folder": (0.06, folders.snapshot),
            "folder goes back": (0.06, folders.go_back),
            "table is repaired": (0.03, self._repair),
            "set aside events are retried": (0.05, self._retry),
        }
        if world.servers.retention_days:
            self._kinds["clock is wrong by days"] = 0.15, self._clock_is_wrong
        if world.servers.keeps_order:
            self._kinds.pop("clock is wrong by days", None)
            del self._kinds["clock steps"], self._kinds["id slots are lost"]
        for what, fault in world.servers.faults().items():
            self._kinds[what] = fault.probability, partial(self._server_fault, what, fault)
        self._ends: dict[str, Callable[[], object]] = {}
        self._over = False
        self._loses_slots = world.ids.shares_a_slot

    def round(self) -> None:
        if self._loses_slots:
            self._loses_slots = False
            self._lose_slots(alike=True)
        for what, (probability, act) in self._kinds.items():
            if self._world.chance.happens(what, probability):
                act()

    def end(self) -> None:
        world = self._world
        world.say("faults end")
        world.all_faults_end()
        self._over = True
        for end in self._ends.values():
            end()
        world.servers.end_faults()
        for node in world.nodes:
            node.disk_full, node.disk_fails, node.syncs_lie = False, 0.0, False
        if world.servers.retention_days:
            self._set_clocks()
        for life in world.lives:
            world.loop.resume(life.process)
        world.system.doomed.clear()
        if world.servers.takes_all:
            self._retry()

    def _life(self) -> Life | None:
        lives = self._world.lives
        return lives[self._world.chance.pick("which worker", len(lives))] if lives else None

    def _kill(self) -> None:
        if life := self._life():
            self._world.fault(f"kill -9 of {life.process.name}")
            self._world.kill(life.process)

    def _leave(self) -> None:
        """The node goes on with fewer workers, which take over the spool."""
        life = self._life()
        others = [one for one in self._world.lives if life and one.process.node is life.process.node]
        if life and len(others) > 1:
            self._world.fault(f"{life.process.name} leaves for good")
            self._world.kill(life.process, returns=False)

    def _doom(self) -> None:
        if life := self._life():
            self._world.fault(f"{life.process.name} is to die in a system call")
            self._world.system.doomed.add(life.process.pid)

    def _cut_power(self) -> None:
        node = self._world.some_node()
        self._world.fault(f"power cut of {node.name}")
        self._world.kill_all_on(node)
        node.boots += 1
        node.booted_at = self._world.loop.time()
        self._world.system.segments.cut_power(node)
        self._world.ledger.excused |= self._world.system.segments.excused

    def _copy(self) -> None:
        world = self._world
        if len(world.nodes) >= NODES_MAX:
            return
        node = self._world.some_node()
        if not node.folder.exists():
            return  # its first worker has just begun
        copy = world.add_node(node)
        copy.clock_ahead_us, copy.clock_grain_us = node.clock_ahead_us, node.clock_grain_us
        world.copies += 1
        world.fault(f"{node.name} is copied as {copy.name}")
        world.begin_life(copy)

    def _repair(self) -> None:
        self._world.say("the table is repaired: it takes each content")
        self._world.servers.repair()
        self._retry()

    def _retry(self) -> None:
        """Somebody runs `ingest spool retry` on each node."""
        for node in self._world.nodes:
            if node.folder.exists() and (events := ask_owners(node.folder / "spool", ())):
                self._world.say(f"{events} events of {node.name} are to be tried again")

    def _restart(self) -> None:
        life = self._life()
        if life and life.accepting and not life.process.stopped:
            self._world.fault(f"planned restart of {life.process.name}")
            self._world.do(self._world.restart(life), "planned restart")

    def _freeze(self) -> None:
        if life := self._life():
            self._world.fault(f"{life.process.name} is stopped")
            life.process.stopped = life.was_stopped = True
            self._for("stopped for", 6.0, lambda: self._world.loop.resume(life.process))

    def _server_fault(self, what: str, fault: ServerFault) -> None:
        self._world.fault(what)
        fault.begin()

        def end() -> None:
            self._world.say(f"{what}: no more")
            fault.end()

        self._ends[what] = fault.end
        self._for(f"{what} for", fault.seconds_max, end)

    def _disk_full(self) -> None:
        node = self._world.some_node()
        self._world.fault(f"the disk of {node.name} is full")
        node.disk_full = True
        self._for("disk is full for", 5.0, lambda: setattr(node, "disk_full", False))

    def _disk_fails(self) -> None:
        node = self._world.some_node()
        self._world.fault(f"the disk of {node.name} fails")
        node.disk_fails = 0.3
        self._for("disk fails for", 4.0, lambda: setattr(node, "disk_fails", 0.0))

    def _syncs_lie(self) -> None:
        node = self._world.some_node()
        self._world.fault(f"syncs of {node.name} write nothing")
        node.syncs_lie = True
        self._for("syncs lie for", 5.0, lambda: setattr(node, "syncs_lie", False))

    def _clock_steps(self) -> None:
        node = self._world.some_node()
        step = self._world.chance.seconds("clock step", -30.0, 30.0)
        self._world.fault(f"the clock of {node.name} steps by {step:.1f} s")
        node.step_clock(int(step * 1e6), self._world.loop.time())

    def _lose_slots(self, *, alike: bool = False) -> None:
        """Workers notice it at their next renewal. Until then a new node may get a slot that another worker uses.

        Both make many equal ids if their clocks are `alike`, and coarse.
        """
        world = self._world
        world.fault("the database loses its id slots")
        world.servers.lose_slots()
        if len(world.nodes) < NODES_MAX:
            node, like = world.add_node(), self._world.some_node()
            node.clock_ahead_us, node.clock_grain_us = like.clock_ahead_us, like.clock_grain_us
            if alike:
                owner = world.ids.owner_of(0)
                node.clock_ahead_us = owner.node.clock_ahead_us if owner else 0
                for one in world.nodes:
                    one.clock_grain_us = COARSE_US
            world.begin_life(node)

    def _clock_is_wrong(self) -> None:
        """It lasts a while. Events that a worker accepts meanwhile have ids of another day."""
        node = self._world.some_node()
        step = int(self._world.chance.seconds("clock is wrong by", -WRONG_DAYS, WRONG_DAYS) * DAY_US)
        self._world.fault(f"the clock of {node.name} is wrong by {step / DAY_US:.1f} days")
        node.step_clock(step, self._world.loop.time())

        def set_back() -> None:
            if not self._over:  # otherwise it is right already
                node.step_clock(-step, self._world.loop.time())

        self._for("clock is wrong for", 10.0, set_back)

    def _set_clocks(self) -> None:
        """Set all clocks by NTP, as retention does nothing by a clock that is wrong."""
        for node in self._world.nodes:
            if abs(node.clock_ahead_us) > RIGHT_US:
                node.step_clock(-node.clock_ahead_us, self._world.loop.time())

    def _for(self, what: str, seconds_max: float, undo: Callable[[], object]) -> None:
        fault = self._world.fault_begins()

        async def later() -> None:
            await asyncio.sleep(self._world.chance.seconds(what, 0.1, seconds_max))
            undo()
            self._world.fault_ends(fault)

        self._world.do(later(), what)
