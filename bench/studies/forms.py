"""Measures the service's CPU time for an event that a form maps, and for a plain event in the same rounds.

Rounds are interleaved. INGEST_TEST_SERVERS chooses the servers.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click
import msgspec

from bench.harness import rounds, targets, wrk
from bench.report.cells import headline
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

METHOD = (
    "wrk in a closed loop. The same JSON goes to /api/call-events and to /in/kamailio, in turns. CPU time is utime + "
    "stime of the worker, until the outbox is empty. The ratio is the median of each round's ratio."
)
HEAD = ("requests to", "CPU µs an event", "÷ plain")


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    load: wrk.Load
    plain_us: Sequence[float]
    mapped_us: Sequence[float]


@click.command(help=__doc__)
@click.option("--rounds", "count", default=7, show_default=True, help="Rounds that count; one more warms up.")
@click.option("--seconds", default=2, show_default=True, help="Length of each turn of a round.")
@click.option("--connections", default=256, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(count: int, seconds: int, connections: int, out: Path | None) -> None:
    load = wrk.Load(connections, seconds)
    mapped = msgspec.structs.replace(load, mapped=True)
    with targets.servers() as servers:
        taken = stamp(servers)
        with targets.service(servers, "quorum") as service:
            found = [[cpu(service, one) for one in (load, mapped)] for _ in range(count + 1)][1:]
    plain_us, mapped_us = zip(*found, strict=True)
    record(Result(taken, METHOD, load, plain_us, mapped_us), "forms", taken, out)
    print(headline(taken))
    ratio = median(one / plain for plain, one in found)
    rows = [
        ["/api/call-events", f"{median(plain_us):.1f}", "1"],
        ["/in/kamailio", f"{median(mapped_us):.1f}", f"{ratio:.2f}"],
    ]
    print(table(HEAD, rows))


def cpu(service: targets.Service, load: wrk.Load) -> float:
    """Return the CPU time of an event in microseconds."""
    return rounds.measure(service, load).cpu_us["service"]


if __name__ == "__main__":
    main()
