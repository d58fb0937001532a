"""Charts: one for each benchmark, drawn from its JSON."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.cells import COMPONENTS
from bench.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    RED,
    SMALL,
    Data,
    legend_above,
    milliseconds,
    new_figure,
    rates,
    spread,
    thousands,
    ticks_at,
)

COLOURS = (GREY, GREEN, BLUE, PURPLE, ORANGE, RED)
MARKERS = "osD^vP"
OF_COMPONENT = {"service": BLUE, "database": ORANGE, "broker": GREEN, "generator": LIGHT_GREY}
LABEL_US_MIN = 5
"""A bar that is shorter than this has no room for its figure."""
HEADROOM = 1.25
TAIL = (50.0, 90.0, 99.0, 99.9, 99.99)
MILLION = 1_000_000


def sweep(data: Data) -> Figure:
    """Draw throughput and p99 against connections: service and no-op, kept and one-shot connections."""
    figure, (rate, p99) = new_figure(data, 3.7, 2)
    for name, colour, marker in (("no-op", GREY, "s"), ("service", BLUE, "o")):
        for one_shot in sorted({step["one_shot"] for step in data["steps"]}):
            steps = [step for step in data["steps"] if step["one_shot"] is one_shot]
            places = [(step["connections"], step["rounds"][name]) for step in steps]
            dashes = {"linestyle": "--", "markerfacecolor": "white"} if one_shot else {}
            style = {"color": colour, "marker": marker, **dashes}
            label = f"{name}, {'one-shot' if one_shot else 'kept'}"
            spread(rate, places, "per_second", label, style)
            spread(p99, places, "p99_ms", label, style)
    for axes in (rate, p99):
        ticks_at(axes, sorted({step["connections"] for step in data["steps"]}), thousands)
        axes.set_xlabel("connections")
    rates(rate, "Events a second")
    milliseconds(p99, "p99, ms (closed loop)")
    legend_above(figure, rate, columns=4)
    return figure


def saturation(data: Data) -> Figure:
    """Draw each component's CPU time an event, stacked."""
    rounds = data["rounds"]
    figure, (axes,) = new_figure(data, 1.5 + 0.36 * len(rounds))
    names = list(reversed(rounds))
    ends = [0.0] * len(names)
    for component in COMPONENTS:
        values = [median(round_["cpu_us"].get(component, 0.0) for round_ in rounds[name]) for name in names]
        _stack(axes, component, names, values, ends)
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    for row, (name, end) in enumerate(zip(names, ends, strict=True)):
        rate = median(round_["per_second"] for round_ in rounds[name])
        axes.text(end + max(ends) * 0.01, row, f"{rate:,.0f} events/s", va="center", fontsize=SMALL)
    axes.set_xlim(0, max(ends) * HEADROOM)
    axes.grid(visible=False, axis="y")
    axes.set_title(f"CPU µs an event by component; {data['load']['connections']} connections, medians")
    legend_above(figure, axes, columns=len(COMPONENTS))
    return figure


def _stack(axes: Axes, component: str, names: Sequence[str], values: Sequence[float], ends: Sequence[float]) -> None:
    axes.barh(names, values, left=list(ends), height=0.66, color=OF_COMPONENT[component], label=component)
    colour = "white" if component == "service" else "black"
    for row, (value, end) in enumerate(zip(values, ends, strict=True)):
        if value >= LABEL_US_MIN:
            axes.text(end + value / 2, row, f"{value:.0f}", ha="center", va="center", fontsize=SMALL, color=colour)


def latency(data: Data) -> Figure:
    """Draw latency by percentile, one line for each rate. The axis expands the tail, as HdrHistogram's plots do."""
    figure, (axes,) = new_figure(data, 4.2)
    measured = data["measured"]
    for (name, step), colour, marker in zip(measured["steps"].items(), COLOURS, MARKERS, strict=False):
        label = name if name.endswith("/s") else f"{name} of saturation ({step['per_second']:,.0f}/s)"
        _curve(axes, step, label, {"color": colour, "marker": marker, "markersize": 3.5})
    for (name, commit), dashes in zip(measured["commits"].items(), ("-", ":"), strict=False):
        style = {"color": "black", "linewidth": 1, "linestyle": dashes}
        _curve(axes, commit, f"a single-row commit, {name}", style)
    ticks_at(axes, [_tail(percent) for percent in TAIL], lambda place: f"p{100 - 100 / place:.4g}")
    milliseconds(axes, "Latency by percentile, ms, from the intended send (open loop)")
    legend_above(figure, axes, columns=3)
    return figure


def _curve(axes: Axes, step: Data, label: str, style: Mapping[str, Any]) -> None:
    """Draw the percentiles up to the last one that a slower answer exceeds."""
    answered = sum(round_.get("latency", round_)["answered"] for round_ in step["rounds"])
    last = min(TAIL[-1], 100 - 100 / answered)
    shown = [(_tail(percent), ms) for percent, ms in step["curve"] if percent <= last]
    axes.plot([place for place, _ in shown], [ms for _, ms in shown], label=label, **style)


def _tail(percent: float) -> float:
    """Return a percentile's place on the axis: one answer in this number takes longer."""
    return 100 / (100 - percent)


def growth(data: Data) -> Figure:
    """Draw events a second and p99 by rows: the grown table and the empty one of the same rounds."""
    figure, (rate, p99) = new_figure(data, 3.7, 2)
    for name, label, style in (
        ("grown", "table with these rows", {"color": BLUE, "marker": "o"}),
        ("empty", "empty table, loaded in turn", {"color": GREY, "marker": "s", "linestyle": "--"}),
    ):
        places = [(place, step["rounds"][name]) for place, step in enumerate(data["rows"])]
        spread(rate, places, "per_second", label, style)
        spread(p99, places, "p99_ms", label, style)
    for axes in (rate, p99):
        axes.set_xticks(range(len(data["rows"])), [f"{step['rows'] / MILLION:g}" for step in data["rows"]])
        axes.set_xlabel(f"million rows; buffer pool {data['buffer_pool_mib']} MiB")
    rates(rate, "Events a second")
    p99.set_title("p99, ms (closed loop)")
    p99.set_ylim(bottom=0)
    legend_above(figure, rate, columns=2)
    return figure


def soak(data: Data) -> Figure:
    """Draw a worker's memory in the soak, and while RabbitMQ is down and the relay drains the backlog."""
    figure, (steady, outage) = new_figure(data, 3.7, 2)
    backlog = data["backlog"]
    most = max(sample["rss_mib"] for part in ("soak", "backlog") for sample in data[part]["samples"])
    for axes, part in ((steady, "soak"), (outage, "backlog")):
        _memory(axes, data[part]["samples"])
        axes.set_ylim(0, most * HEADROOM)
        axes.set_xlabel("seconds")
    steady.set_title(f"A worker's memory, MiB, at {data['soak']['per_second']:,.0f} events/s")
    outage.set_title("RabbitMQ down, then the drain")
    left = outage.twinx()
    _left(left, backlog)
    legend_above(figure, outage, left, columns=3)
    return figure


def _memory(axes: Axes, samples: Sequence[Data]) -> None:
    seconds = [sample["seconds"] for sample in samples]
    axes.plot(seconds, [sample["rss_mib"] for sample in samples], color=BLUE, label="RSS")
    axes.plot(seconds, [sample["pss_mib"] for sample in samples], color=GREEN, linestyle="--", label="Pss")


def _left(axes: Axes, backlog: Data) -> None:
    """Draw the backlog on the right axis, and the moment when RabbitMQ was back."""
    back_at, drain = backlog["back_at_seconds"], backlog["drain"]
    seconds = [back_at + look["seconds"] for look in drain]
    axes.plot(seconds, [look["events"] for look in drain], color=RED, linestyle="-.", label="events left (right axis)")
    rates(axes, "")
    axes.set_ylim(0, backlog["events"] * HEADROOM)
    axes.spines["right"].set_visible(True)
    axes.grid(visible=False)
    axes.axvline(back_at, color="black", linewidth=0.8, linestyle=":")
    axes.text(
        back_at, 0.98, "RabbitMQ is back ", transform=axes.get_xaxis_transform(), ha="right", va="top", fontsize=SMALL
    )
