"""Measures a worker's memory in a long soak at half of saturation, and with a backlog while RabbitMQ is down.

First the saturation is measured. Then half of it loads the service for `--seconds`. Then RabbitMQ is stopped, and the
service takes `--events` under the same load. RabbitMQ starts again, and the relay drains the backlog without other
load. VmRSS and Pss of the worker are sampled every second. Writes results/soak-DATABASE.json.

The soak stops the broker, so it needs private servers. INGEST_TEST_SERVERS chooses their kind.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from bench.harness import targets, wrk
from bench.harness.cpu import cpu_seconds, used
from bench.harness.memory import Sample, Watch, tenth, thinned
from bench.harness.wrk import Load
from bench.report import cells
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

POINTS_MAX = 200
PACING_SECONDS = 5
TURN_SECONDS = 10
"""The backlog grows in turns of this length, and is counted after each turn."""
BACKLOG_TURNS_MAX = 200
DRAIN_SECONDS_MAX = 900
BACKLOG = "SELECT COALESCE(SUM(count), 0) FROM ingest_outbox"
FLAT_WITHIN = 0.05
BACKLOG_MIB_MAX = 150
METHOD = (
    "wrk measures the saturation in a closed loop. Then each connection pauses between its requests, so that the load "
    "is half of the saturation. The largest VmRSS and Pss of the workers are sampled once a second. Growth is the "
    "median RSS of the soak's last tenth ÷ that of its second tenth. The backlog's cost is the greatest RSS while "
    "RabbitMQ is down and in the drain, minus that of the soak's last tenth. The drain's rate counts from the last "
    "count before the backlog shrank, without load."
)


class Left(msgspec.Struct, frozen=True):
    """Unpublished events, `seconds` after RabbitMQ was back."""

    seconds: float
    events: int


class Soak(msgspec.Struct, frozen=True):
    per_second: float
    failures: int
    samples: Sequence[Sample]

    @property
    def growth(self) -> float:
        return self.last_mib / tenth(self.samples, 1) - 1

    @property
    def last_mib(self) -> float:
        return tenth(self.samples, 9)


class Backlog(msgspec.Struct, frozen=True):
    """`samples` begin when RabbitMQ is stopped. At `back_at_seconds` of their time RabbitMQ was back."""

    events: int
    failures: int
    samples: Sequence[Sample]
    back_at_seconds: float
    drain: Sequence[Left]
    drain_cpu_us: Mapping[str, float]
    """CPU µs an event, by component, from RabbitMQ's start to the last confirm."""

    @property
    def most_mib(self) -> float:
        return max(sample.rss_mib for sample in self.samples)

    @property
    def drain_per_second(self) -> float:
        """Events a second, from the last count of the whole backlog to the first count of zero."""
        began = [left.seconds for left in self.drain if left.events >= self.drain[0].events][-1]
        return self.drain[0].events / (self.drain[-1].seconds - began)


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    workers: int
    saturation_per_second: float
    load: Load
    soak: Soak
    backlog: Backlog
    growth: float
    backlog_mib: float
    drain_per_second: float


@click.command(help=__doc__)
@click.option("--seconds", default=600, show_default=True, help="Length of the soak.")
@click.option("--events", default=1_000_000, show_default=True, help="Least number of events in the backlog.")
@click.option("--share", default=0.5, show_default=True, help="Share of saturation that loads the service.")
@click.option("--connections", default=256, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Worker processes; the largest one is reported.")
@click.option("--mode", default="quorum", show_default=True, type=click.Choice(targets.MODES))
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(
    seconds: int, events: int, share: float, connections: int, workers: int, mode: targets.Mode, out: Path | None
) -> None:
    with targets.servers() as servers, targets.service(servers, mode, workers) as service:
        if not servers.rabbitmq.controllable:
            sys.exit("the soak stops RabbitMQ, so it needs private servers")
        taken = stamp(servers)
        saturation = measure_rate(service, Load(connections, PACING_SECONDS))
        load = paced(service, Load(connections, PACING_SECONDS), saturation * share)
        load = msgspec.structs.replace(load, seconds=seconds)
        soak = measure_soak(service, load)
        backlog = measure_backlog(servers, service, msgspec.structs.replace(load, seconds=TURN_SECONDS), events)
    result = summed_up(taken, workers, saturation, load, soak, backlog)
    record(result, "soak", taken, out)
    print(cells.headline(taken))
    print(report(result))
    if failures := soak.failures + backlog.failures:
        sys.exit(f"{failures} requests were not answered 200")


def measure_rate(service: targets.Service, load: Load) -> float:
    """Return the events a second, after a short warm-up."""
    wrk.run(service.port, service.token, msgspec.structs.replace(load, seconds=1))
    answers = wrk.run(service.port, service.token, load)
    service.drain()
    return answers.events / answers.seconds


def paced(service: targets.Service, load: Load, per_second: float) -> Load:
    """Return `load` with pauses, so that it sends `per_second` events. A first run measures the time of answers."""
    guess = msgspec.structs.replace(load, pause_ms=pause_ms(load, per_second, 0.0))
    answers = wrk.run(service.port, service.token, guess)
    return msgspec.structs.replace(load, pause_ms=pause_ms(load, per_second, answers.p50_ms))


def pause_ms(load: Load, per_second: float, answer_ms: float) -> int:
    return max(1, round(load.connections * 1000 / per_second - answer_ms))


def measure_soak(service: targets.Service, load: Load) -> Soak:
    service.clear()
    with Watch(list(service.components()["service"])) as watch:
        answers = wrk.run(service.port, service.token, load)
    service.drain()
    return Soak(answers.events / answers.seconds, answers.failures, watch.samples)


def measure_backlog(servers: targets.Servers, service: targets.Service, load: Load, events: int) -> Backlog:
    service.clear()
    with Watch(list(service.components()["service"])) as watch:
        servers.rabbitmq.stop()
        failures = pile_up(servers, service, load, events)
        servers.rabbitmq.start()
        back_at = watch.seconds
        components = service.components()
        before = cpu_seconds(components)
        drain = watch_drain(servers, service)
        seconds = used(before, cpu_seconds(components))
    cpu_us = {name: value * 1e6 / drain[0].events for name, value in seconds.items()}
    return Backlog(drain[0].events, failures, watch.samples, round(back_at, 1), drain, cpu_us)


def pile_up(servers: targets.Servers, service: targets.Service, load: Load, events: int) -> int:
    """Load the service until `events` are unpublished. Return the number of requests not answered 200."""
    failures = 0
    for _ in range(BACKLOG_TURNS_MAX):
        failures += wrk.run(service.port, service.token, load).failures
        if unpublished(servers, service) >= events:
            return failures
    raise targets.BenchFailed(f"there was no backlog of {events} events after {BACKLOG_TURNS_MAX} turns")


def watch_drain(servers: targets.Servers, service: targets.Service) -> list[Left]:
    """Count the unpublished events about once a second, until there are none."""
    started = time.monotonic()
    drain = [Left(0.0, unpublished(servers, service))]
    while drain[-1].events:
        if drain[-1].seconds > DRAIN_SECONDS_MAX:
            raise targets.BenchFailed(f"{drain[-1].events} events are not published after {DRAIN_SECONDS_MAX} s")
        time.sleep(1)
        drain.append(Left(round(time.monotonic() - started, 2), unpublished(servers, service)))
    return drain


def unpublished(servers: targets.Servers, service: targets.Service) -> int:
    return int(servers.mysql.query(BACKLOG, service.database)[0][0])


def summed_up(taken: Stamp, workers: int, saturation: float, load: Load, soak: Soak, backlog: Backlog) -> Result:
    """Compute the figures from all samples. The result keeps only some of the samples."""
    return Result(
        stamp=taken,
        method=METHOD,
        workers=workers,
        saturation_per_second=saturation,
        load=load,
        soak=msgspec.structs.replace(soak, samples=thinned(soak.samples, POINTS_MAX)),
        backlog=msgspec.structs.replace(backlog, samples=thinned(backlog.samples, POINTS_MAX)),
        growth=soak.growth,
        backlog_mib=backlog.most_mib - soak.last_mib,
        drain_per_second=backlog.drain_per_second,
    )


def report(result: Result) -> str:
    soak, backlog = result.soak, result.backlog
    rows = [
        ["saturation", f"{result.saturation_per_second:,.0f} events/s", ""],
        ["soak", f"{soak.per_second:,.0f} events/s", ""],
        ["RSS at the soak's end", f"{soak.last_mib:.0f} MiB", ""],
        ["growth over the soak", f"{result.growth:+.1%}", f"within {FLAT_WITHIN:.0%}"],
        ["backlog", f"{backlog.events:,} events", ""],
        ["RSS more with the backlog", f"{result.backlog_mib:+.0f} MiB", f"<= {BACKLOG_MIB_MAX} MiB"],
        ["drain", f"{result.drain_per_second:,.0f} events/s", ""],
        *[[f"CPU of the drain, {name}", f"{us:.1f} µs an event", ""] for name, us in backlog.drain_cpu_us.items()],
    ]
    return table(["figure", "measured", "reach"], rows)


if __name__ == "__main__":
    main()
