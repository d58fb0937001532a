"""Functions that all charts of results use.

The colors are Okabe and Ito's, which people with color blindness can tell apart. Lines also differ by marker or dashes.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

Data = Mapping[str, Any]
"""The JSON of a benchmark's result, or a part of it."""

BLUE, ORANGE, GREEN, RED, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
GREY, LIGHT_GREY = "#767676", "#BBBBBB"
WIDTH_INCHES = 7.6
SMALL = 8
"""Points."""


def new_figure(data: Data, height_inches: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure with the stamp as its last lines, so that a copied chart still says where it comes from."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    stamp, versions = data["stamp"], data["stamp"]["versions"]
    build = versions.get("python_build", "").partition(";")[0]  # without the compiler; older results have none
    python = f"Python {versions['python']}{build and f' ({build})'}"
    lines = (
        (stamp["machine"], stamp["commit"], stamp["taken_at"][:10]),
        (python, versions["database"], versions["broker"]),
    )
    figure.supxlabel("\n".join(" · ".join(line) for line in lines), fontsize=7, color=GREY, x=0.01, ha="left")
    return figure, list(axes[0])


def spread(
    axes: Axes, places: Sequence[tuple[float, Sequence[Data]]], field: str, label: str, style: Mapping[str, Any]
) -> None:
    """Draw a line of medians over the rounds at each place, with bars from the least to the most."""
    values = [[round_[field] for round_ in rounds] for _, rounds in places]
    middles = [median(each) for each in values]
    below = [middle - min(each) for middle, each in zip(middles, values, strict=True)]
    above = [max(each) - middle for middle, each in zip(middles, values, strict=True)]
    at = [place for place, _ in places]
    axes.errorbar(at, middles, yerr=[below, above], label=label, capsize=2, elinewidth=1, **style)


def ticks_at(axes: Axes, values: Sequence[float], text: Callable[[float], str]) -> None:
    """Set the ticks of a logarithmic axis."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def rates(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: thousands(value)))


def milliseconds(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend_above(figure: Figure, *all_axes: Axes, columns: int) -> None:
    pairs = [axes.get_legend_handles_labels() for axes in all_axes]
    lines, labels = chain.from_iterable(line for line, _ in pairs), chain.from_iterable(label for _, label in pairs)
    figure.legend(list(lines), list(labels), loc="outside upper left", ncols=columns)


def thousands(value: float) -> str:
    return f"{value:,.0f}"
