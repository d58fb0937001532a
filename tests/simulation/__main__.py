"""`python -m tests.simulation --seeds 0:10000`: runs schedules, and shows each failure as small as possible."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

import msgspec

from tests.simulation.chance import SeededChance
from tests.simulation.drivers.servers import drops_days
from tests.simulation.running import Result, remove_folders_of, run, run_all, warm_up
from tests.simulation.shrinking import shrink
from tests.simulation.world import has_drivers

CORPUS = Path(__file__).with_name("corpus.txt")
PROCESSES = 2
FORK = get_context("fork")
SEEDS_AT_ONCE = 25
TRACE_LINES = 120


def _drivers(seed: int) -> bool:
    return has_drivers(SeededChance(seed))


def _retention(seed: int) -> bool:
    return _drivers(seed) and drops_days(SeededChance(seed))


WORLDS: dict[str, Callable[[int], bool]] = {"all": lambda _: True, "drivers": _drivers, "retention": _retention}
"""Defects in statements show only in worlds with models of the servers."""


class Totals(msgspec.Struct):
    schedules: int = 0
    events: int = 0
    faults: int = 0
    steps: int = 0
    failed: list[int] = []

    def add(self, result: Result) -> None:
        self.schedules += 1
        self.events += result.events
        self.faults += result.faults
        self.steps += result.steps
        if result.failure:
            self.failed.append(result.seed)


def corpus() -> list[int]:
    """Seeds that once failed. The reason stands behind each."""
    lines = (line.split("#")[0].strip() for line in CORPUS.read_text().splitlines())
    return [int(line) for line in lines if line]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="FIRST:END, or one seed, whose trace is printed")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after this time")
    parser.add_argument("--worlds", choices=WORLDS, default="all", help="only seeds whose world is of this kind")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="run this many schedules at a time")
    parser.add_argument("--failures", type=int, default=1, help="end after this many failures")
    parser.add_argument("--no-shrink", action="store_true", help="name a failure without its smallest schedule")
    options = parser.parse_args(arguments)
    first, _, end = options.seeds.partition(":")
    if not end:
        return _show_one(int(first))
    seeds = filter(WORLDS[options.worlds], chain(corpus(), range(int(first), int(end))))
    began = time.monotonic()
    totals = Totals()
    until = began + options.seconds if options.seconds else None
    for result in _results(seeds, until, options.processes):
        totals.add(result)
        if result.failure:
            _show(result, shrunk=not options.no_shrink)
            if len(totals.failed) >= options.failures:
                break
    _sum_up(totals, time.monotonic() - began, options.processes)
    return 1 if totals.failed else 0


def _results(seeds: Iterator[int], until: float | None, processes: int) -> Iterator[Result]:
    """The results of all seeds, as they come. Each part has a process of its own, which leaves its garbage behind."""
    warm_up()
    parts, running = _parts(seeds), dict[Connection, ForkProcess]()
    try:
        while True:
            late = until is not None and time.monotonic() > until
            while len(running) < processes and not late and (part := next(parts, None)):
                results, sender = FORK.Pipe(duplex=False)
                running[results] = FORK.Process(target=_send, args=(sender, part), daemon=True)
                running[results].start()
                sender.close()
            if not running:
                return
            for one in wait([*running]):
                assert isinstance(one, Connection)
                received: list[Result] = one.recv()
                running.pop(one).join()
                yield from received
    finally:
        for process in running.values():
            process.kill()
            process.join()
            remove_folders_of(process.pid or 0)


def _send(sender: "Connection[list[Result], None]", part: Sequence[int]) -> None:
    sender.send(run_all(part))


def _parts(seeds: Iterator[int]) -> Iterator[Sequence[int]]:
    """Small parts first, so that a failure of nearly every schedule is soon seen."""
    size = 1
    while part := list(islice(seeds, size)):
        yield part
        size = min(2 * size, SEEDS_AT_ONCE)


def _show(result: Result, *, shrunk: bool) -> None:
    print(f"\nSeed {result.seed} fails: {result.failure}")
    if not shrunk:
        return
    small = shrink(result)
    print(f"The smallest schedule that fails so needs these decisions ({small.runs} runs to find them):")
    print("\n".join(f"  {one}" for one in small.needed) or "  none: it fails without any fault")
    print("Its trace:")
    print("\n".join(small.result.trace[-TRACE_LINES:]))
    print(f"Seed {small.result.seed}: {small.result.failure}")


def _show_one(seed: int) -> int:
    result = run(seed, detailed=True)
    print("\n".join(result.trace))
    print(f"Seed {seed}: {result.failure or 'no failure'}")
    return 1 if result.failure else 0


def _sum_up(totals: Totals, seconds: float, processes: int) -> None:
    count = max(1, totals.schedules)
    print(
        f"{totals.schedules} schedules in {seconds:.1f} s: {totals.schedules / seconds:.1f} a second on {processes} "
        f"processes. On average {totals.events // count} events, {totals.faults / count:.1f} faults and "
        f"{totals.steps // count} steps. {len(totals.failed)} failed."
    )


if __name__ == "__main__":
    sys.exit(main())
