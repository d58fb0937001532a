"""Tables of `bench.latency`."""

from collections.abc import Mapping, Sequence
from statistics import median

from bench.latency.events import Event, EventName, RunPart
from bench.latency.figures import Figures
from bench.latency.steps import Commit, Reach, Step, Steps
from bench.report.tables import table

TIMES = ("p50", "p90", "p99 ms", "p99.9", "max", "failures")
STEP_HEAD = ("load", "events/s", *TIMES, "late p50", "late p99", "generator CPU µs", "service CPU µs")
EVENT_HEAD = ("event", "events/s", "seconds", "", *TIMES)
REACH_HEAD = ("reach", "figure", "least-most", "bound", "")


def steps_table(measured: Steps) -> str:
    commits = [_commit_row(name, commit) for name, commit in measured.commits.items()]
    return table(STEP_HEAD, commits + [_step_row(name, step) for name, step in measured.steps.items()])


def events_table(events: Mapping[EventName, Event]) -> str:
    rows = []
    for name, event in events.items():
        began, ended = event.from_seconds, event.to_seconds
        load = [name, f"{event.per_second:,.0f}"]
        rows.append([*load, f"{began:.1f}-{ended:.1f}", "within", *_part_cells(event.within)])
        rows.append([*load, f"0-{event.seconds:.0f}", "outside", *_part_cells(event.outside)])
    return table(EVENT_HEAD, rows)


def reach_table(found: Mapping[str, Reach]) -> str:
    return table(REACH_HEAD, [_reach_row(name, each) for name, each in found.items()])


def _reach_row(name: str, found: Reach) -> list[str]:
    verdict = "reached" if found.figure <= found.at_most else "missed"
    spread = f"{min(found.rounds):.2f}-{max(found.rounds):.2f}"
    return [name, f"{found.figure:.2f}", spread, f"<= {found.at_most:g}", verdict]


def _step_row(name: str, step: Step) -> list[str]:
    late = [
        f"{median(round_.late_p50_ms for round_ in step.rounds):.2f}",
        f"{median(round_.late_p99_ms for round_ in step.rounds):.2f}",
        f"{median(round_.generator_cpu_us for round_ in step.rounds):.1f}",
        f"{median(round_.service_cpu_us for round_ in step.rounds):.1f}",
    ]
    return [name, f"{step.per_second:,.0f}", *time_cells([round_.latency for round_ in step.rounds]), *late]


def _commit_row(name: str, commit: Commit) -> list[str]:
    return [f"a commit, {name}", "", *time_cells(commit.rounds), "", "", "", ""]


def _part_cells(part: RunPart) -> list[str]:
    return time_cells([part.latency])


def time_cells(rounds: Sequence[Figures]) -> list[str]:
    """Format the cells of `TIMES`: medians, p99 also with its least and most, the greatest max, all failures."""
    p99 = [each.p99_ms for each in rounds]
    spread = f" ({min(p99):.2f}-{max(p99):.2f})" if len(p99) > 1 else ""
    return [
        f"{median(each.p50_ms for each in rounds):.2f}",
        f"{median(each.p90_ms for each in rounds):.2f}",
        f"{median(p99):.2f}{spread}",
        f"{median(each.p999_ms for each in rounds):.2f}",
        f"{max(each.max_ms for each in rounds):.1f}",
        str(sum(each.failures for each in rounds)),
    ]
