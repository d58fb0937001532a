"""Measures the latency of answers at fixed rates of events (an open loop).

First wrk finds the saturation rate (a closed loop). Then interleaved rounds measure 100 events/s, shares of the
saturation, and the single-row commits of a separate client. Prints p50 to p99.9 and writes a JSON file to results/.
Exits with 1 if a request was not answered 200. INGEST_TEST_SERVERS chooses the servers.
"""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, get_args

import click
import msgspec

from bench.harness import rounds, targets
from bench.harness.wrk import Load
from bench.latency import events as latency_events
from bench.latency import steps as latency_steps
from bench.latency.commit import commits
from bench.latency.events import EVENT_NAMES, Event, EventName, Scene
from bench.latency.steps import Reach, Steps
from bench.latency.tables import events_table, reach_table, steps_table
from bench.openloop.generator import generator
from bench.openloop.plan import Arrivals, Plan
from bench.report.cells import headline
from bench.report.records import record
from bench.report.stamp import Stamp, stamp

PERCENTS = (10, 25, 50, 75, 90)
SATURATION_TURNS = 3
SATURATION_SECONDS = 3
WARM_SECONDS = 1.0
METHOD = (
    "Open loop: a generator in its own process sends each request when it is due, over kept connections, each with its "
    "own body. Latency counts from the due time; HdrHistograms of microseconds, three digits. Saturation: wrk in a "
    "closed loop, median of three turns, before and after the rounds. Rounds are interleaved: single-row commits "
    "(asyncmy, autocommit, one connection, idle service), then each rate on an empty table and queue; all events are "
    "published before the next rate. Figures are medians over rounds, ratios are medians of each round's ratio, maxima "
    "are over all rounds."
)


class Options(msgspec.Struct, frozen=True):
    """See the command's help."""

    rounds: int
    seconds: float
    percents: tuple[int, ...]
    event_names: tuple[EventName, ...]
    event_seconds: float
    arrivals: Arrivals
    connections: int
    workers: int
    mode: targets.Mode


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    options: Options
    saturation_per_second: float
    saturation_after_per_second: float
    """Measured again after the rounds. A different rate shows that the machine's speed has changed."""
    measured: Steps
    reach: Mapping[str, Reach]
    events: Mapping[EventName, Event]

    @property
    def failures(self) -> int:
        steps = [round_.latency for step in self.measured.steps.values() for round_ in step.rounds]
        parts = [part.latency for event in self.events.values() for part in (event.within, event.outside)]
        return sum(figures.failures for figures in steps + parts)


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True, help="Rounds; each runs every rate once.")
@click.option("--seconds", default=10.0, show_default=True, help="Length of one rate's turn.")
@click.option("--percent", "percents", multiple=True, default=PERCENTS, show_default=True, help="Of saturation.")
@click.option(
    "--while",
    "event_names",
    multiple=True,
    type=click.Choice(EVENT_NAMES),
    help="After the rounds, a run at half of saturation with this event; may be repeated.",
)
@click.option("--event-seconds", default=30.0, show_default=True, help="Length of a run with --while.")
@click.option("--arrivals", default="poisson", show_default=True, type=click.Choice(get_args(Arrivals)))
@click.option("--connections", default=256, show_default=True, help="Connections of wrk and of the open loop.")
@click.option("--workers", default=1, show_default=True, help="Worker processes of the service.")
@click.option("--mode", default="quorum", show_default=True, type=click.Choice(targets.MODES))
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(out: Path | None, **options: Any) -> None:
    with targets.servers() as servers:
        result = measure(servers, msgspec.convert(options, Options))
    record(result, "latency", result.stamp, out)
    print(headline(result.stamp))
    rates = f"{result.saturation_per_second:,.0f} events/s, after the rounds {result.saturation_after_per_second:,.0f}"
    print(f"saturation: {rates}\n\n{steps_table(result.measured)}\n")
    if result.events:
        print(f"{events_table(result.events)}\n")
    print(reach_table(result.reach))
    if result.failures:
        sys.exit(f"{result.failures} requests were not answered 200")


def measure(servers: targets.Servers, options: Options) -> Result:
    taken = stamp(servers)
    with ExitStack() as stack:
        service = stack.enter_context(targets.service(servers, options.mode, options.workers))
        noop = stack.enter_context(targets.noop("asgi", options.workers))
        scene = Scene(servers, service, stack.enter_context(generator()))
        reference = stack.enter_context(commits(servers.mysql))
        saturation = saturate(service, options.connections)
        half = Plan(
            port=service.port,
            token=service.token,
            per_second=saturation / 2,
            seconds=WARM_SECONDS,
            arrivals=options.arrivals,
            connections_max=options.connections,
        )
        scene.generator.start(half).result()
        turn = msgspec.structs.replace(half, seconds=options.seconds)
        loads = latency_steps.loads(service, noop, saturation, options.percents)
        steps = latency_steps.measure(scene.generator, reference, turn, loads, options.rounds)
        after = saturate(service, options.connections)
        run = msgspec.structs.replace(half, seconds=options.event_seconds)
        events = {name: latency_events.measure(name, scene, run) for name in options.event_names}
    return Result(taken, METHOD, options, saturation, after, steps, latency_steps.reach(steps), events)


def saturate(service: targets.Service, connections: int) -> float:
    """Return the events/s of a closed loop. The first turn warms up and does not count."""
    load = Load(connections, SATURATION_SECONDS)
    turns = [rounds.measure(service, load) for _ in range(SATURATION_TURNS + 1)]
    return median(turn.per_second for turn in turns[1:])


if __name__ == "__main__":
    main()
