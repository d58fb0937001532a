"""Measures the cost of extras: throughput with and without metrics, tracing and idempotency keys.

Rounds are interleaved, as in `bench.saturation`. INGEST_TEST_SERVERS chooses the servers.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click
import msgspec

from bench.harness import rounds, targets
from bench.harness.rounds import Round
from bench.harness.wrk import Load
from bench.report import cells
from bench.report.cells import headline
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table
from tests.collector import collecting

AS_IT_IS = "as it is"
SHARE = "0.01"
KEYS = {"INGEST_IDEMPOTENCY_KEY": "natural"}
METHOD = (
    "wrk loads variants of the service in a closed loop, in interleaved rounds. The variant without metrics records "
    "none, has no durable counters, and Granian exports none. Each traced request begins a trace; spans go to a "
    "collector in the benchmark's process, on the same two cores. Ratios are medians of each round's ratio."
)
HEAD = ("variant", "events/s", "CPU µs an event:", "database", "broker", "generator", "events/s ÷ as it is", "CPU ÷")

Rounds = Mapping[str, Sequence[Round]]


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    load: Load
    rounds: Rounds


@click.command(help=__doc__)
@click.option("--rounds", "count", default=7, show_default=True, help="Rounds that count; one more warms up.")
@click.option("--seconds", default=4, show_default=True, help="Length of one variant's turn.")
@click.option("--connections", default=256, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(count: int, seconds: int, connections: int, out: Path | None) -> None:
    load = Load(connections, seconds, random_calls=True)  # duplicates of earlier rounds would cost less than new events
    with targets.servers() as servers:
        taken = stamp(servers)
        measured = run(servers, load, count)
    record(Result(taken, METHOD, load, measured), "extras", taken, out)
    print(headline(taken))
    print(table(HEAD, [row(name, measured) for name in measured]))


def run(servers: targets.Servers, load: Load, count: int) -> dict[str, list[Round]]:
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "INGEST_TRACING": "otlp"}
        share = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": SHARE}
        variants: dict[str, targets.Target] = {
            AS_IT_IS: stack.enter_context(targets.service(servers, "quorum")),
            "without metrics": stack.enter_context(
                targets.service(servers, "quorum", module="bench.harness.service_without_metrics")
            ),
            "natural keys": stack.enter_context(targets.service(servers, "quorum", environment=KEYS)),
            "1 % traced": stack.enter_context(targets.service(servers, "quorum", environment=traced | share)),
            "all traced": stack.enter_context(targets.service(servers, "quorum", environment=traced)),
        }
        measured: dict[str, list[Round]] = {name: [] for name in variants}
        for number in range(count + 1):
            for name, target in variants.items():
                found = rounds.measure(target, load)
                collector.spans.clear()
                if number:
                    measured[name].append(found)
        return measured


def row(name: str, measured: Rounds) -> list[str]:
    own, whole = measured[name], measured[AS_IT_IS]
    rate = median(one.per_second / other.per_second for one, other in zip(own, whole, strict=True))
    return [name, cells.rate(own), *cells.cpu(own), f"{rate:.3f}", f"{rounds.ratio(own, whole):.3f}"]


if __name__ == "__main__":
    main()
