"""Measures a quiet token's latency: alone, beside a token within its rate, and beside one that exceeds its rate.

Rounds are interleaved. INGEST_TEST_SERVERS chooses the servers.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click
import msgspec

from bench.harness import targets, wrk
from bench.latency.figures import Figures, figures
from bench.openloop.generator import Generator, generator
from bench.openloop.plan import Plan
from bench.report.cells import headline
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table

METHOD = (
    "The quiet token sends at a fixed rate (open loop; latency counts from the due time). The other token has a rate "
    "limit. The polite client sends at just that rate. The noisy one sends as fast as its connections are answered, "
    "mostly 429. Its burst is a tenth of a second of its rate. Rounds are interleaved; ratios are medians of each "
    "round's ratio."
)
ALONE, POLITE, NOISY = "alone", "beside a polite token", "beside a noisy token"
HEAD = (
    "quiet token",
    "p50 ms",
    "p99 ms",
    "p99 ÷ beside a polite one",
    "failures",
    "other: taken/s",
    "other: refused/s",
)
NOISY_SECONDS_MORE = 4
BEGUN_SECONDS = 1.0
"""The measurement begins after this time, as the noisy token's burst is not part of it."""
BURST_SECONDS = 0.1
"""The noisy token's burst, in seconds of its rate."""
WITHIN = 0.98
"""The polite client's share of its rate, so that it is never refused."""


class Round(msgspec.Struct, frozen=True):
    latency: Figures
    other_taken_per_second: float = 0.0
    other_refused_per_second: float = 0.0


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    quiet_per_second: float
    noisy_rate: int
    noisy_connections: int
    rounds: Mapping[str, Sequence[Round]]


@click.command(help=__doc__)
@click.option("--rounds", "count", default=7, show_default=True)
@click.option("--seconds", default=6, show_default=True, help="Length of each turn of a round.")
@click.option("--quiet", default=500.0, show_default=True, help="Events a second of the quiet token.")
@click.option("--rate", default=500, show_default=True, help="Events a second that the noisy token may send.")
@click.option("--connections", default=128, show_default=True, help="Connections of the noisy token.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(count: int, seconds: int, quiet: float, rate: int, connections: int, out: Path | None) -> None:
    with targets.servers() as servers:
        taken = stamp(servers)
        measured = run(servers, count, seconds, quiet, rate, connections)
    record(Result(taken, METHOD, quiet, rate, connections, measured), "fairness", taken, out)
    print(headline(taken))
    print(table(HEAD, [row(name, measured) for name in measured]))


def run(
    servers: targets.Servers, count: int, seconds: int, quiet: float, rate: int, connections: int
) -> dict[str, list[Round]]:
    measured: dict[str, list[Round]] = {ALONE: [], POLITE: [], NOISY: []}
    with targets.service(servers, "quorum", workers=2) as service, generator() as loop, generator() as other:
        plan = Plan(service.port, service.new_token("quiet"), quiet, seconds)
        token = service.new_token(
            "other", "--events-per-second", str(rate), "--burst", str(round(rate * BURST_SECONDS))
        )
        within = Plan(service.port, token, rate * WITHIN, seconds, "even")
        for number in range(count + 1):
            alone = Round(latency(loop, plan))
            polite = other.start(within)
            beside = Round(latency(loop, plan), figures(polite.result().latency).answered / seconds)
            with flood(service.port, token, connections, seconds + NOISY_SECONDS_MORE) as answers:
                time.sleep(BEGUN_SECONDS)
                held = latency(loop, plan)
            noisy = Round(held, answers[0].events / answers[0].seconds, answers[0].not_2xx / answers[0].seconds)
            if number:  # the first one warms up
                for name, found in zip(measured, (alone, beside, noisy), strict=True):
                    measured[name].append(found)
            service.drain()
            service.clear()
    return measured


def latency(loop: Generator, plan: Plan) -> Figures:
    return figures(loop.start(plan).result().latency)


@contextmanager
def flood(port: int, token: str, connections: int, seconds: int) -> Iterator[list[wrk.Answers]]:
    """Load the service during the block. The list has wrk's answers after the block."""
    answers: list[wrk.Answers] = []
    load = wrk.Load(connections, seconds)
    thread = threading.Thread(target=lambda: answers.append(wrk.run(port, token, load)))
    thread.start()
    try:
        yield answers
    finally:
        thread.join()


def row(name: str, measured: Mapping[str, Sequence[Round]]) -> list[str]:
    own = measured[name]
    moved = median(one.latency.p99_ms / other.latency.p99_ms for one, other in zip(own, measured[POLITE], strict=True))
    return [
        name,
        f"{median(one.latency.p50_ms for one in own):.1f}",
        f"{median(one.latency.p99_ms for one in own):.1f}",
        f"{moved:.2f}",
        f"{sum(one.latency.failures for one in own)}",
        f"{median(one.other_taken_per_second for one in own):,.0f}",
        f"{median(one.other_refused_per_second for one in own):,.0f}",
    ]


if __name__ == "__main__":
    main()
