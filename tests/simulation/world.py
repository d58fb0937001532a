"""One schedule: a world of nodes, workers, clients and servers, the faults that a seed chooses, and the checks."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.simulation.chance import SeededChance
from tests.simulation.drivers.servers import DriverServers
from tests.simulation.ledger import Ledger
from tests.simulation.machine.loop import Process, SimulatedLoop, current
from tests.simulation.machine.metric_files import MetricFiles
from tests.simulation.machine.nodes import Node, WorkerProcess
from tests.simulation.machine.snapshots import copy_folder
from tests.simulation.machine.system import System
from tests.simulation.machine.threads import ThreadedLoop
from tests.simulation.ports.servers import PortServers
from tests.simulation.promises import Promises
from tests.simulation.servers import Servers
from tests.simulation.subjects.ids import Ids
from tests.simulation.subjects.repeats import Repeats
from tests.simulation.workers import Life, Limits

RESTART_SECONDS = (0.05, 3.0)
FIRST_PID = 1000
DRIVER_WORLDS = 16
THREAD_WORLDS = 10
"""Executors have real threads in every tenth world, as they take longer."""

WORLD = Process("world")


class World:
    """All that one schedule needs. `trace` says what happened, for people."""

    def __init__(self, chance: SeededChance, folder: Path) -> None:
        self.chance = chance
        self.has_threads = chance.pick("threads", THREAD_WORLDS) == THREAD_WORLDS - 1
        self.loop = ThreadedLoop(chance) if self.has_threads else SimulatedLoop(chance)
        self.folder = folder
        self.system = System(str(folder), chance, self.loop, self.kill)
        self.servers = _servers(chance, self.loop)
        self.archive = folder / "archive"
        """A disk that all nodes have mounted."""
        self.ledger = Ledger()
        self.metrics = MetricFiles()
        self.nodes: list[Node] = []
        self.lives: list[Life] = []
        """The lives that are not over."""
        self.processes: list[Process] = []
        self.trace: list[str] = []
        self.faults = 0
        self._lasting: set[object] = set()
        """The faults that last now."""
        self._calm_since = 0.0
        self.kills = 0
        self.copies = 0
        self.restarts = 0
        """Workers that are to start after a pause."""
        self.promises = Promises(self)
        self.repeats = Repeats(self)
        self.ids = Ids(self)
        self.limits = Limits()
        self._pid = FIRST_PID

    def say(self, text: str) -> None:
        self.trace.append(f"{self.loop.time():10.4f}  {text}")

    def fault(self, text: str) -> None:
        self.faults += 1
        self.say(text)

    @property
    def calm_since(self) -> float:
        """When the last fault ended, in the world's time. It is now if one lasts."""
        return self.loop.time() if self._lasting else self._calm_since

    def fault_begins(self) -> object:
        """Return what `fault_ends` needs."""
        fault = object()
        self._lasting.add(fault)
        return fault

    def fault_ends(self, fault: object) -> None:
        self._lasting.discard(fault)
        self._calm_since = self.loop.time()

    def all_faults_end(self) -> None:
        self._lasting.clear()
        self._calm_since = self.loop.time()

    def add_node(self, copied: Node | None = None) -> Node:
        node = Node(f"node-{len(self.nodes)}", self.folder / f"node-{len(self.nodes)}")
        if copied:
            copy_folder(copied.folder, node.folder)
            node.save_tokens(copied.tokens_saved_by(self.loop.time()), self.loop.time())
        self.nodes.append(node)
        return node

    def begin_life(self, node: Node) -> Life:
        self._pid += 1
        process = WorkerProcess(f"worker-{self._pid - FIRST_PID} on {node.name}", node, self._pid)
        self.processes.append(process)
        self.system.processes[process.pid] = process
        life = Life(
            self.loop, process, self.limits, self.servers, self.metrics, self.promises.breaks, self.repeats, self.ids
        )
        self.lives.append(life)
        self.loop.in_process(process, self._start(life), "main")
        return life

    async def _start(self, life: Life) -> None:
        try:
            await life.start()
            self.say(f"{life.process.name} has started")
        except Exception as exc:  # as a supervisor does, the world starts it again
            self.say(f"{life.process.name} did not start: {exc!r}")
            self.kill(life.process)

    def kill(self, process: WorkerProcess, *, returns: bool = True) -> None:
        """End the process as kill -9 does. If it `returns`, start another after a while."""
        if not process.alive:
            return
        self._end(process)
        self.kills += 1
        self.say(f"{process.name} is dead")
        if not returns:
            return
        pause = self.chance.seconds("restart after", *RESTART_SECONDS)
        self.restarts += 1
        self.do(self._later(pause, process.node), "restart")

    def kill_all_on(self, node: Node) -> None:
        for life in [one for one in self.lives if one.process.node is node]:
            self.kill(life.process)

    def some_node(self) -> Node:
        return self.nodes[self.chance.pick("which node", len(self.nodes))]

    def _end(self, process: WorkerProcess) -> None:
        process.alive = False
        process.ready.clear()
        del self.system.processes[process.pid]
        self.system.files.close_all_of(process)
        self.servers.process_ended(process)
        life = next(one for one in self.lives if one.process is process)
        self.lives.remove(life)
        for connection in life.connections:
            if not connection.done():
                self.loop.call_soon(_reset, connection)

    async def _later(self, seconds: float, node: Node) -> None:
        await asyncio.sleep(seconds)
        self.restarts -= 1
        self.begin_life(node)

    async def restart(self, life: Life) -> None:
        """Stop the worker as planned, and start another."""
        life.accepting = False
        with suppress(asyncio.CancelledError):
            await self.loop.in_process(life.process, life.stop(), "stop")
        await self.promises.answered_before_the_end(life)
        if life.process.alive:
            self._end(life.process)
            self.begin_life(life.process.node)

    def do(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Start a task of the world itself."""
        return self.loop.in_process(WORLD, work, name)

    def close(self) -> None:
        """End all processes. Nothing of them may touch a file any more, so their coroutines are closed as dead ones."""
        for process in self.processes:
            process.alive = False
            if isinstance(process, WorkerProcess):
                self.system.files.close_all_of(process)
        ghost = WorkerProcess("ghost", Node("nowhere", self.folder), 0)
        ghost.alive = False
        current.set(ghost)
        for process in (*self.processes, WORLD):
            for task in process.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with suppress(BaseException):
                        task.get_coro().close()
        WORLD.tasks.clear()
        WORLD.ready.clear()
        current.set(WORLD)
        self.system.shut_down()
        self.metrics.close()


def _reset(connection: "asyncio.Future[tuple[int, bytes]]") -> None:
    if not connection.done():
        connection.set_exception(ConnectionResetError())


def _servers(chance: SeededChance, loop: SimulatedLoop) -> Servers:
    return DriverServers(chance, loop) if has_drivers(chance) else PortServers(chance)


def has_drivers(chance: SeededChance) -> bool:
    """In one of many worlds the service's statements and frames reach models of the servers, which takes longer."""
    return chance.pick("servers", DRIVER_WORLDS) == DRIVER_WORLDS - 1
