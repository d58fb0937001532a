"""Measures the service under overload: five times as many clients as saturate it, none of which pauses.

First `--connections` measure the saturation. Then `--times` as many connections load the service for `--seconds`. Then
100 events/s at even times show how long the effect of the overload lasts. VmRSS of the worker is sampled every second.
Writes results/overload-DATABASE.json. INGEST_TEST_SERVERS chooses the servers.

An open loop at five times the saturation rate is not possible on the service's own two cores. Reading its requests
alone would take more CPU time than they have.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from bench.harness import targets, wrk
from bench.harness.memory import Sample, Watch, tenth, thinned
from bench.harness.wrk import Load
from bench.latency.figures import Figures, figures
from bench.openloop.generator import Generator, generator
from bench.openloop.plan import Plan, Recording
from bench.report import cells
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

SATURATION_SECONDS = 10
CALM_PER_SECOND = 100.0
CALM_SECONDS = 10.0
POINTS_MAX = 200
GOODPUT_LEAST, P99_MS_MOST, RSS_MOST = 0.8, 500.0, 1.05
BACK_TO_NORMAL = 2.0
"""A second is back to normal if its p99 is at most this multiple of the p99 before the overload."""
METHOD = (
    "wrk in a closed loop, first with the connections of saturation, then with a multiple of them. Goodput is the rate "
    "of answers 200 ÷ the saturation rate. p99 includes refusals. RSS growth is the median of the last tenth ÷ the "
    "median of the second tenth. Before and after, an open loop sends 100 events/s; latency counts from the due time."
)


class Overload(msgspec.Struct, frozen=True):
    """`normal` is the calm load before the overload; `after` is the same load, for each second after it."""

    stamp: Stamp
    method: str
    saturation: wrk.Answers
    overload: wrk.Answers
    normal: Figures
    after: Sequence[Figures]
    samples: Sequence[Sample]
    rss_growth: float

    @property
    def goodput(self) -> float:
        return (self.overload.events / self.overload.seconds) / (self.saturation.events / self.saturation.seconds)

    @property
    def recovery_seconds(self) -> int:
        """The number of the last second that is not back to normal; 0 if all seconds are."""
        limit = self.normal.p99_ms * BACK_TO_NORMAL
        felt = [number for number, each in enumerate(self.after, 1) if not each.p99_ms <= limit]
        return max(felt, default=0)


@click.command(help=__doc__)
@click.option("--seconds", default=120, show_default=True, help="Length of the overload.")
@click.option(
    "--times", default=5, show_default=True, help="Connections of the overload, as a multiple of saturation's."
)
@click.option("--connections", default=256, show_default=True, help="Connections that saturate the service.")
@click.option("--workers", default=1, show_default=True)
@click.option("--mode", default="quorum", show_default=True, type=click.Choice(targets.MODES))
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(seconds: int, times: int, connections: int, workers: int, mode: targets.Mode, out: Path | None) -> None:
    with targets.servers() as servers, targets.service(servers, mode, workers) as service, generator() as calm:
        taken = stamp(servers)
        result = measure(
            service, calm, taken, Load(connections, SATURATION_SECONDS), Load(connections * times, seconds)
        )
    record(result, "overload", taken, out)
    print(cells.headline(taken))
    print(report(result))


def measure(service: targets.Service, calm: Generator, taken: Stamp, saturating: Load, overloading: Load) -> Overload:
    wrk.run(service.port, service.token, msgspec.structs.replace(saturating, seconds=2))  # warms up
    service.drain()
    normal = figures(_calm(calm, service).latency)
    saturation = wrk.run(service.port, service.token, saturating)
    service.clear()
    with Watch(list(service.components()["service"])) as watch:
        overload = wrk.run(service.port, service.token, overloading)
    recording = _calm(calm, service)
    service.drain()
    rows = service.rows()
    if rows is not None and rows < overload.events:
        raise targets.BenchFailed(f"{overload.events} events were answered 200, {rows} are in the database")
    seconds = [
        figures([latency for due, latency in zip(recording.due, recording.latency, strict=True) if int(due) == second])
        for second in range(int(CALM_SECONDS))
    ]
    growth = tenth(watch.samples, 9) / tenth(watch.samples, 1)
    return Overload(taken, METHOD, saturation, overload, normal, seconds, thinned(watch.samples, POINTS_MAX), growth)


def _calm(calm: Generator, service: targets.Service) -> Recording:
    plan = Plan(
        port=service.port,
        token=service.token,
        per_second=CALM_PER_SECOND,
        seconds=CALM_SECONDS,
        arrivals="even",
        connections_max=16,
    )
    return calm.start(plan).result()


def report(result: Overload) -> str:
    def row(name: str, answers: wrk.Answers) -> list[str]:
        rate = answers.events / answers.seconds
        return [name, f"{rate:,.0f}", str(answers.failures), f"{answers.p50_ms:.0f}", f"{answers.p99_ms:.0f}"]

    loads = table(
        ("load", "events/s", "refused", "p50 ms", "p99 ms"),
        [row("saturation", result.saturation), row("overload", result.overload)],
    )
    after = ", ".join(f"{each.p99_ms:.1f}" for each in result.after)
    reach = table(
        ("reach", "figure", "bound", ""),
        [
            _reach("goodput ÷ saturation", result.goodput, GOODPUT_LEAST, least=True),
            _reach("p99 ms", result.overload.p99_ms, P99_MS_MOST),
            _reach("RSS, last ÷ second tenth", result.rss_growth, RSS_MOST),
            _reach("seconds until back to normal", result.recovery_seconds, 5),
        ],
    )
    return f"{loads}\n\np99 ms at 100/s: {result.normal.p99_ms:.1f} before; each second after: {after}\n\n{reach}"


def _reach(name: str, figure: float, bound: float, *, least: bool = False) -> list[str]:
    reached = figure >= bound if least else figure <= bound
    sign = ">=" if least else "<="
    return [name, f"{figure:.2f}", f"{sign} {bound:g}", "reached" if reached else "missed"]


if __name__ == "__main__":
    main()
