"""Measures the service's CPU time for refused requests, and for accepted events in the same rounds, with each listener.

Rounds are interleaved. INGEST_TEST_SERVERS chooses the servers.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click
import msgspec

from bench.harness import rounds, targets, wrk
from bench.harness.cpu import cpu_seconds, used
from bench.report.cells import headline
from bench.report.records import record
from bench.report.stamp import Stamp, stamp
from bench.report.tables import table
from ingest.http.admission import DELAY_SECONDS
from ingest.http.batch_handler import PATH as BATCH_PATH
from tests.running import EVENT

METHOD = (
    "wrk in a closed loop. One token is unknown, one has a rate of 1 event a second, and the invalid events have no "
    "valid timestamp. CPU time is utime + stime of the worker. Each round loads the service with accepted events, then "
    "with each kind of refused requests. A response 429 waits about a quarter of a second, so these requests come at a "
    "low rate, where every request costs more. They are compared with accepted events whose connections pause as long. "
    "Ratios are medians of each round's ratio."
)
ACCEPTED, PACED = "200", "200, at the rate of 429"
REFERENCES = {"401": ACCEPTED, "422": ACCEPTED, "429": PACED}
"""Refused requests, by the status of the response → the accepted events that they are compared with."""
HEAD = ("listener", "response", "CPU µs a request", "÷ accepted")
LISTENERS = ("granian", "direct")
OVERDRAWN_SECONDS = 2000

Cpu = Mapping[str, Sequence[float]]
"""Status → CPU time of a request in microseconds, for each round."""


class Result(msgspec.Struct, frozen=True):
    stamp: Stamp
    method: str
    load: wrk.Load
    cpu_us: Mapping[str, Cpu]
    """The CPU times by listener."""


@click.command(help=__doc__)
@click.option("--rounds", "count", default=7, show_default=True, help="Rounds that count; one more warms up.")
@click.option("--seconds", default=2, show_default=True, help="Length of each turn of a round.")
@click.option("--connections", default=256, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, instead of one in results/.")
def main(count: int, seconds: int, connections: int, out: Path | None) -> None:
    load = wrk.Load(connections, seconds)
    with targets.servers() as servers:
        taken = stamp(servers)
        measured = run(servers, load, count)
    record(Result(taken, METHOD, load, measured), "refusals", taken, out)
    print(headline(taken))
    print(table(HEAD, [row(listener, status, cpu) for listener, cpu in measured.items() for status in cpu]))


def run(servers: targets.Servers, load: wrk.Load, count: int) -> dict[str, Cpu]:
    with ExitStack() as stack:
        services = {
            listener: stack.enter_context(targets.service(servers, "quorum", environment={"INGEST_LISTENER": listener}))
            for listener in LISTENERS
        }
        limited = {listener: limited_token(service) for listener, service in services.items()}
        found = [
            {listener: measure(service, limited[listener], load) for listener, service in services.items()}
            for _ in range(count + 1)
        ][1:]  # the first round warms up
    return {
        listener: {status: [round_[listener][status] for round_ in found] for status in found[0][listener]}
        for listener in services
    }


def limited_token(service: targets.Service) -> str:
    """Return a token with a rate of 1 event a second that stays above its rate for OVERDRAWN_SECONDS.

    A load alone does not ensure it: events that arrive together are all admitted until the first of them is counted.
    """
    token = service.new_token("limited", "--events-per-second", "1", "--burst", "1")
    status = service.post(BATCH_PATH, msgspec.json.encode([EVENT] * OVERDRAWN_SECONDS), token)
    if status != 200:
        raise targets.BenchFailed(f"the batch that takes more than the token's rate was answered {status}")
    return token


def measure(service: targets.Service, limited: str, load: wrk.Load) -> dict[str, float]:
    """Return the CPU time of a request in microseconds, by the status of its response."""
    accepted = rounds.measure(service, load).cpu_us["service"]
    invalid = msgspec.structs.replace(load, invalid=True)
    paced = msgspec.structs.replace(load, pause_ms=round(DELAY_SECONDS * 1000))
    return {
        ACCEPTED: accepted,
        PACED: rounds.measure(service, paced).cpu_us["service"],
        "401": refused(service, "unknown", load),
        "422": refused(service, service.token, invalid),
        "429": refused(service, limited, load),
    }


def refused(service: targets.Service, token: str, load: wrk.Load) -> float:
    """Return the CPU time of a refused request in microseconds. Raises `BenchFailed` if one is accepted."""
    components = service.components()
    before = cpu_seconds(components)
    answers = wrk.run(service.port, token, load)
    seconds = used(before, cpu_seconds(components))["service"]
    if answers.events or not answers.not_2xx:
        raise targets.BenchFailed(f"{answers.events} of {answers.requests} requests were accepted")
    return seconds * 1e6 / answers.requests


def ratio(cpu: Cpu, status: str) -> float:
    return median(one / accepted for one, accepted in zip(cpu[status], cpu[REFERENCES[status]], strict=True))


def row(listener: str, status: str, cpu: Cpu) -> list[str]:
    compared = f"{ratio(cpu, status):.2f}" if status in REFERENCES else "-"
    return [listener, status, f"{median(cpu[status]):.1f}", compared]


if __name__ == "__main__":
    main()
