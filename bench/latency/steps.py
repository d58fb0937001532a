"""Interleaved rounds of rates, from a tenth of saturation up, and of single-row commits as their reference."""

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import median

import msgspec

from bench.harness.cpu import cpu_seconds, used
from bench.harness.targets import BenchFailed, Target
from bench.latency.commit import Commits
from bench.latency.figures import Figures, Round, curve, figures, round_of
from bench.openloop.generator import Generator
from bench.openloop.plan import Plan, Recording

LOW, HALF, NOOP = "100/s", "50 %", "no-op, 50 %"
LOW_PER_SECOND = 100.0
BACK_TO_BACK, PACED = "back to back", LOW
"""The single-row commits: back to back, or at the lowest rate."""


class Load(msgspec.Struct, frozen=True):
    target: Target
    per_second: float


class Turn(msgspec.Struct, frozen=True):
    recording: Recording
    service_cpu_seconds: float


class Step(msgspec.Struct, frozen=True):
    per_second: float
    rounds: list[Round]
    curve: list[tuple[float, float]]
    """Pairs of percentile and ms, over all rounds."""


class Commit(msgspec.Struct, frozen=True):
    rounds: list[Figures]
    curve: list[tuple[float, float]]


class Steps(msgspec.Struct, frozen=True):
    """Steps and commits by name, such as `50 %`; see the constants."""

    steps: Mapping[str, Step]
    commits: Mapping[str, Commit]


class Reach(msgspec.Struct, frozen=True):
    """A figure of each round, and its bound."""

    rounds: list[float]
    at_most: float

    @property
    def figure(self) -> float:
        return median(self.rounds)


def loads(service: Target, noop: Target, saturation_per_second: float, percents: Sequence[int]) -> dict[str, Load]:
    """Return the loads. The no-op at half of the service's saturation shows the HTTP server's own latency."""
    shares = {f"{percent} %": Load(service, saturation_per_second * percent / 100) for percent in percents}
    return {LOW: Load(service, LOW_PER_SECOND), **shares, NOOP: Load(noop, saturation_per_second / 2)}


def measure(generator: Generator, commits: Commits, plan: Plan, steps: Mapping[str, Load], count: int) -> Steps:
    """Measure the steps. Each round has its own arrivals, which are the same in every run."""
    turns: dict[str, list[Turn]] = {name: [] for name in steps}
    committed: dict[str, list[Sequence[float]]] = {BACK_TO_BACK: [], PACED: []}
    for number in range(count):
        committed[BACK_TO_BACK].append(commits.measure(plan.seconds))
        committed[PACED].append(commits.measure(plan.seconds, LOW_PER_SECOND))
        for name, load in steps.items():
            turn = msgspec.structs.replace(
                plan, port=load.target.port, token=load.target.token, per_second=load.per_second, seed=number
            )
            turns[name].append(_turn(load.target, generator, turn))
    return Steps(
        steps={name: _step(steps[name].per_second, each) for name, each in turns.items()},
        commits={name: _commit(each) for name, each in committed.items()},
    )


def _turn(target: Target, generator: Generator, plan: Plan) -> Turn:
    target.clear()
    components = {"service": target.components()["service"]}
    before = cpu_seconds(components)
    recording = generator.start(plan).result()
    target.drain()
    seconds = used(before, cpu_seconds(components))["service"]
    answered = figures(recording.latency).answered
    if (rows := target.rows()) is not None and rows < answered:
        raise BenchFailed(f"{answered} events were answered 200, {rows} are in the database")
    return Turn(recording, seconds)


def _step(per_second: float, turns: Sequence[Turn]) -> Step:
    return Step(
        per_second=per_second,
        rounds=[round_of(turn.recording, turn.service_cpu_seconds) for turn in turns],
        curve=curve(chain.from_iterable(turn.recording.latency for turn in turns)),
    )


def _commit(turns: Sequence[Sequence[float]]) -> Commit:
    return Commit([figures(took) for took in turns], curve(chain.from_iterable(turns)))


def reach(measured: Steps) -> dict[str, Reach]:
    """Return the figures that bench/README.md has goals for; none for a step that was not run."""
    commit = measured.commits[BACK_TO_BACK].rounds
    found: dict[str, Reach] = {}
    if half := measured.steps.get(HALF):
        p99 = [round_.latency.p99_ms for round_ in half.rounds]
        found["p99 at 50 %, ms"] = Reach(p99, 10.0)
        found["p99 at 50 % ÷ p99 of a commit"] = Reach(_ratios(p99, [each.p99_ms for each in commit]), 5.0)
    p50 = [round_.latency.p50_ms for round_ in measured.steps[LOW].rounds]
    paced = measured.commits[PACED].rounds
    found["p50 at 100/s ÷ p50 of a commit"] = Reach(_ratios(p50, [each.p50_ms for each in commit]), 1.5)
    found["p50 at 100/s ÷ p50 of a commit at 100/s"] = Reach(_ratios(p50, [each.p50_ms for each in paced]), 1.5)
    return found


def _ratios(values: Sequence[float], references: Sequence[float]) -> list[float]:
    return [value / reference for value, reference in zip(values, references, strict=True)]
