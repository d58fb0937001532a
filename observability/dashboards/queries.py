"""PromQL for the panels: for the chosen hosts, over Grafana's own rate interval."""

from typing import NamedTuple

RATE = "$__rate_interval"
HOSTS = 'instance=~"$instance"'
JOB = 'job=~"$job"'


class Query(NamedTuple):
    expr: str
    legend: str = ""


def of(metric: str, *selectors: str) -> str:
    """The metric's series of the chosen hosts."""
    return f"{metric}{{{', '.join((JOB, HOSTS, *selectors))}}}"


def recorded(series: str) -> str:
    """A series of slo.yml, which has no job."""
    return f"{series}{{{HOSTS}}}"


def total(metric: str, legend: str, *selectors: str, by: str = "") -> Query:
    return Query(f"sum{_by(by)}({of(metric, *selectors)})", legend)


def most(metric: str, legend: str, by: str = "") -> Query:
    return Query(f"max{_by(by)}({of(metric)})", legend)


def least(metric: str, legend: str, *selectors: str, by: str = "") -> Query:
    return Query(f"min{_by(by)}({of(metric, *selectors)})", legend)


def rate(metric: str, legend: str, *selectors: str, by: str = "") -> Query:
    """A counter's rate a second."""
    return Query(f"sum{_by(by)}(rate({of(metric, *selectors)}[{RATE}]))", legend)


def increase(metric: str, legend: str, *selectors: str, by: str = "") -> Query:
    """A counter's increase in the time shown."""
    return Query(f"sum{_by(by)}(increase({of(metric, *selectors)}[$__range]))", legend)


def share(part: str, whole: str, legend: str) -> Query:
    """The ratio of two gauges."""
    return Query(f"sum({of(part)}) / sum({of(whole)})", legend)


def ratio(metric: str, part: str, whole: str, legend: str) -> Query:
    """The ratio of the rates of two selections of a counter."""
    return Query(f"sum(rate({of(metric, part)}[{RATE}])) / sum(rate({of(metric, whole)}[{RATE}]))", legend)


def mean(histogram: str, legend: str) -> Query:
    return Query(f"sum(rate({of(f'{histogram}_sum')}[{RATE}])) / sum(rate({of(f'{histogram}_count')}[{RATE}]))", legend)


def quantiles(histogram: str, *wanted: float, by: str = "") -> list[Query]:
    """A histogram's quantiles; the default is p50, p95 and p99."""
    labels = f"le, {by}" if by else "le"
    buckets = f"sum by ({labels}) (rate({of(f'{histogram}_bucket')}[{RATE}]))"
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        Query(f"histogram_quantile({quantile}, {buckets})", f"p{quantile * 100:g}{legend}")
        for quantile in wanted or (0.5, 0.95, 0.99)
    ]


def buckets(histogram: str) -> Query:
    """A histogram's buckets, for a heatmap."""
    return Query(f"sum by (le) (increase({of(f'{histogram}_bucket')}[{RATE}]))", "{{le}}")


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
