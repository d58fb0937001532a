"""Compares events through the batch endpoint with plain inserts of the same rows.

Rounds are interleaved: a plain multi-row insert, then the service with each kind of queue. Writes
results/batches-DATABASE.json. INGEST_TEST_SERVERS chooses the servers.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click
import msgspec
import uvloop

from bench.harness import targets, wrk
from bench.harness.cpu import cpu_seconds, used
from bench.harness.wrk import Load
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table
from bench.studies import parts

INSERT = parts.INSERT
REACH = 0.5
HEAD = (
    *("target", "events/s", "÷ plain insert", "until published", "÷"),
    *("CPU µs an event: service", "database", "broker", "p50 ms"),
)
METHOD = (
    "The insert: one connection runs one multi-row statement and its commit after another. The service: wrk posts "
    "NDJSON batches over the given connections. Events/s count answered events; the published rate counts until "
    "RabbitMQ has confirmed all of them. Rounds are interleaved; figures are medians, ratios are medians of each "
    "round's ratio. Bodies repeat after twenty batches."
)


class Turn(msgspec.Struct, frozen=True):
    """One target's round. `per_second` counts until the last answer, `published_per_second` until the last confirm."""

    per_second: float
    published_per_second: float
    cpu_us: Mapping[str, float]
    p50_ms: float


Turns = Mapping[str, Sequence[Turn]]


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    load: Load
    rows: int
    workers: int
    turns: Turns


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True, help="Rounds that count; one more warms up.")
@click.option("--seconds", default=4, show_default=True, help="Length of one target's turn.")
@click.option("--items", default=1000, show_default=True, help="Events a batch.")
@click.option("--rows", default=500, show_default=True, help="Rows of a plain insert.")
@click.option("--connections", default=4, show_default=True)
@click.option("--workers", default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(rounds: int, seconds: int, items: int, rows: int, connections: int, workers: int, out: Path | None) -> None:
    load = Load(connections, seconds, batch_items=items)
    with targets.servers() as servers:
        taken = stamp(servers)
        turns = measure(servers, load, rows, rounds, workers)
    record(Result(taken, METHOD, load, rows, workers, turns), "batches", taken, out)
    print(table(HEAD, [row(name, turns) for name in turns]))
    best = max(_ratio(turns[name], turns[INSERT]) for name in turns if name != INSERT)
    print(f"batches ÷ plain insert: {best:.2f} (reach: >= {REACH})")


def measure(servers: targets.Servers, load: Load, rows: int, rounds: int, workers: int) -> dict[str, list[Turn]]:
    with ExitStack() as stack:
        services = {mode: stack.enter_context(targets.service(servers, mode, workers)) for mode in ("quorum", "stream")}
        turns: dict[str, list[Turn]] = {name: [] for name in (INSERT, *services)}
        for number in range(rounds + 1):
            measured = {INSERT: insert_turn(servers, rows, load.seconds)}
            measured |= {name: service_turn(service, load) for name, service in services.items()}
            if number:
                for name, turn in measured.items():
                    turns[name].append(turn)
    return turns


def insert_turn(servers: targets.Servers, rows: int, seconds: float) -> Turn:
    return uvloop.run(_insert_for(servers, rows, seconds))


async def _insert_for(servers: targets.Servers, rows: int, seconds: float) -> Turn:
    maker = parts.Maker(rows)
    components = targets.if_ours("database", servers.mysql)
    async with parts.plain_insert(servers.mysql.fresh_database()) as insert:
        before, began, busy, events = cpu_seconds(components), time.perf_counter(), 0.0, 0
        while time.perf_counter() - began < seconds:
            batch = maker.batch()  # outside the measured time
            started = time.perf_counter()
            await insert(batch)
            busy += time.perf_counter() - started
            events += len(batch)
        cpu = used(before, cpu_seconds(components))
    rate = events / busy
    return Turn(rate, rate, {name: value * 1e6 / events for name, value in cpu.items()}, busy / events * rows * 1e3)


def service_turn(service: targets.Service, load: Load) -> Turn:
    """Load the service. Raises `BenchFailed` if events are missing in the database."""
    service.clear()
    components = service.components()
    before, began = cpu_seconds(components), time.monotonic()
    answers = wrk.run(service.port, service.token, load)
    service.drain()
    published_seconds = time.monotonic() - began
    cpu = used(before, cpu_seconds(components))
    events = answers.events * load.batch_items
    rows = service.rows() or 0
    if rows < events or not events:
        raise targets.BenchFailed(f"{events} events were answered 200, {rows} are in the database")
    cpu_us = {name: value * 1e6 / events for name, value in cpu.items()}
    return Turn(events / answers.seconds, events / published_seconds, cpu_us, answers.p50_ms)


def row(name: str, turns: Turns) -> list[str]:
    """Return a target's medians, in the order of `HEAD`."""
    own, plain = turns[name], turns[INSERT]
    rates = sorted(turn.per_second for turn in own)
    published = median(turn.published_per_second for turn in own)
    return [
        name,
        f"{median(rates):,.0f} ({rates[0]:,.0f}-{rates[-1]:,.0f})",
        f"{_ratio(own, plain):.2f}",
        f"{published:,.0f}",
        f"{median(a.published_per_second / b.per_second for a, b in zip(own, plain, strict=True)):.2f}",
        *(
            f"{median(turn.cpu_us[part] for turn in own):.1f}" if part in own[0].cpu_us else "-"
            for part in ("service", "database", "broker")
        ),
        f"{median(turn.p50_ms for turn in own):.1f}",
    ]


def _ratio(own: Sequence[Turn], plain: Sequence[Turn]) -> float:
    return median(a.per_second / b.per_second for a, b in zip(own, plain, strict=True))


if __name__ == "__main__":
    main()
