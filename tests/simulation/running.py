"""Runs the schedule of a seed, and tells how it ended."""

import gc
import logging
import os
import random
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import Context
from pathlib import Path

import msgspec

from tests.simulation.chance import Decision, SeededChance
from tests.simulation.ledger import Violation
from tests.simulation.machine.loop import Stuck, current
from tests.simulation.machine.threads import watched
from tests.simulation.schedule import Schedule
from tests.simulation.world import WORLD, World

MEMORY = Path("/dev/shm")
"""A disk in memory, on Linux."""
WARM_UP = (1, 3)
"""A seed whose statements and frames reach models of MySQL and of a stream, and one with models at the ports."""


class Result(msgspec.Struct, frozen=True):
    """`trace` says what happened, for people. `seconds` is virtual time."""

    seed: int
    failure: str | None
    events: int
    faults: int
    steps: int
    seconds: float
    decisions: list[Decision]
    trace: list[str]


def run(
    seed: int,
    left_out: Collection[tuple[str, int]] = frozenset(),
    unused: Collection[str] = frozenset(),
    *,
    detailed: bool = False,
) -> Result:
    """`left_out` and `unused`: see `SeededChance`. A `detailed` trace has what clients and the service say, too."""
    return Context().run(_run, seed, left_out, unused, detailed)


def _run(seed: int, left_out: Collection[tuple[str, int]], unused: Collection[str], detailed: bool) -> Result:
    random.seed(seed)  # the service's jitter
    current.set(WORLD)
    folder = tempfile.mkdtemp(prefix=_prefix(os.getpid()), dir=_disk())
    world = World(SeededChance(seed, left_out, unused), Path(folder))
    watch = watched(world.promises.breaks) if world.has_threads else nullcontext()
    with world.system.installed(), watch:
        try:
            with _logged(world, detailed=detailed):
                failure = _failure_of(world)
        finally:
            logging.disable(logging.CRITICAL)  # the coroutines of dead processes end now
            world.close()
            logging.disable(logging.NOTSET)
            world.loop.close()
            shutil.rmtree(folder, ignore_errors=True)
    events, faults = len(world.ledger.sent), world.faults + world.system.faults
    steps, seconds = world.loop.steps, world.loop.time()
    return Result(seed, failure, events, faults, steps, seconds, world.chance.decisions, world.trace)


def run_all(seeds: Sequence[int]) -> list[Result]:
    """Run several schedules. Only the results of those that failed have all details.

    A schedule leaves much garbage. To collect it takes longer than to end the process, so the caller ends it.
    """
    gc.disable()
    return [_without_details(run(seed)) for seed in seeds]


def warm_up() -> None:
    """Import, parse and cache all that each schedule needs, for the processes that are forked from this one."""
    for seed in WARM_UP:
        run(seed)
    gc.collect()
    gc.freeze()


def remove_folders_of(pid: int) -> None:
    """Remove what a process has left that was killed in a schedule."""
    for folder in _disk().glob(f"{_prefix(pid)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(pid: int) -> str:
    return f"simulation-{pid}-"


def _disk() -> Path:
    return MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())


def _without_details(result: Result) -> Result:
    return result if result.failure else msgspec.structs.replace(result, decisions=[], trace=[])


def _failure_of(world: World) -> str | None:
    try:
        world.loop.run_until_complete(Schedule(world).run())
    except (Violation, Stuck) as exc:
        return str(exc)
    return None


@contextmanager
def _logged(world: World, *, detailed: bool) -> Iterator[None]:
    if not detailed:
        logging.disable(logging.CRITICAL)
        yield
        return
    handler = _Trace(world)
    logs = [logging.getLogger(name) for name in ("ingest", "simulation")]
    for one in logs:
        one.addHandler(handler)
        one.setLevel(logging.INFO)
    yield
    for one in logs:
        one.removeHandler(handler)


class _Trace(logging.Handler):
    """Adds the log's lines to the trace, each with its process and its fields."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        error = f" {record.exc_info[1]!r}" if record.exc_info else ""
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        self._world.say(f"{current.get().name}: {record.getMessage()} {told}{error}")


_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
