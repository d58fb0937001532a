"""The benchmarks' results over the project's history. `python -m bench.report.history` makes them for Prometheus."""

from observability.dashboards.panels import Board, chart
from observability.dashboards.queries import Query

BEGIN = "2026-11-24T00:00:00.000Z"
"""The first results are from this day."""


def board() -> Board:
    made = Board(
        "benchmarks",
        "benchmark history",
        "Saturation at each commit that kept its results. Machines differ: compare with the no-op of the same run.",
        [],
        "benchmarks",
    )
    made.over(BEGIN, "call-events-benchmarks")
    events = Query("max by (case, database) (last_over_time(bench_events_per_second[7d]))", "{{case}} on {{database}}")
    description = "Median of the rounds of `make bench`, committed and confirmed."
    made.add(chart("Events a second", "eps", [events], description), 12)
    cpu = Query("max by (case, database) (last_over_time(bench_service_cpu_seconds[7d]))", "{{case}} on {{database}}")
    made.add(chart("CPU of the service an event", "s", [cpu], "Median of the rounds."), 12)
    ratio = Query(
        "max by (case, database) (last_over_time(bench_service_cpu_seconds[7d]))"
        ' / ignoring(case) group_left max by (database) (last_over_time(bench_service_cpu_seconds{case="no-op"}[7d]))',
        "{{case}} on {{database}}",
    )
    description = (
        "CPU time of the service divided by that of a bare ASGI application on the same machine in the same run."
    )
    made.add(chart("Against the no-op", "none", [ratio], description), 12)
    latency = Query("max by (case, database) (last_over_time(bench_p99_seconds[7d]))", "{{case}} on {{database}}")
    made.add(chart("p99 at saturation", "s", [latency], "Median of the rounds."), 12)
    return made
