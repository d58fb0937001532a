"""The common parts of our panels and boards, over Grafana's builder library."""

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import text as textpanel
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from observability.dashboards import sections, variables
from observability.dashboards.queries import Query, of
from observability.dashboards.variables import SOURCE

COLUMNS, STAT_HEIGHT, CHART_HEIGHT = 24, 4, 8
GREEN, ORANGE, RED = "green", "orange", "red"

Steps = Sequence[tuple[float | None, str]]
"""Each value begins a color. None stands for the lowest value."""
Panel = Any
"""A builder of one of the library's panels."""


def figure(title: str, unit: str, query: Query, steps: Steps, description: str) -> Panel:
    """One number, in the color of its step."""
    panel = _described(stat.Panel(), title, unit, description).thresholds(_steps(steps))
    reduced = ReduceDataOptions().calcs(["lastNotNull"])
    return panel.reduce_options(reduced).color_mode(common.BigValueColorMode.BACKGROUND).with_target(_target(query, 0))


def chart(title: str, unit: str, queries: Sequence[Query], description: str, steps: Steps = ()) -> Panel:
    """Lines over time. The steps, if any, are the alert's bounds."""
    panel = (
        _described(timeseries.Panel(), title, unit, description)
        .min(0)
        .line_width(1)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if steps:
        lines = GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_steps(steps)).thresholds_style(lines)
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(query, number))
    return panel


def heat(title: str, query: Query, description: str) -> Panel:
    """A histogram's buckets over time, in seconds."""
    target = _target(query, 0).format(PromQueryFormat.HEATMAP)
    panel = _described(heatmap.Panel(), title, "s", description).with_target(target)
    colors = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return panel.color(colors).y_axis(heatmap.YAxisConfig().unit("s"))


def text(title: str, content: str) -> Panel:
    """Markdown."""
    return textpanel.Panel().title(title).mode(TextMode.MARKDOWN).content(content)


def _described(panel: Panel, title: str, unit: str, description: str) -> Panel:
    """Add what all panels with queries have, and a link to the runbook of each alert in the description."""
    panel = panel.title(title).unit(unit).description(description).datasource(SOURCE)
    links = sections.links(description)
    return panel.links(links) if links else panel


def _target(query: Query, number: int) -> Any:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
    return target.ref_id(chr(ord("A") + number)).datasource(SOURCE)


def _steps(steps: Steps) -> Any:
    listed = [Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(listed)


class Board:
    """A dashboard that is filled row by row. A panel goes beside the last one while there is room."""

    def __init__(
        self,
        name: str,
        title: str,
        description: str,
        choices: Sequence[Any] = variables.SERVICE,
        folder: str = "dashboards",
    ) -> None:
        """`choices` are variables beside the data source. `folder` is the board's folder below grafana/."""
        self.name = name
        self.folder = folder
        self._ids = 0
        self._x = self._y = self._height = 0
        self._board = (
            dashboard.Dashboard(f"Call events: {title}")
            .uid(f"call-events-{name}")
            .description(description)
            .tags(["call-events"])
            .readonly()
            .timezone("utc")
            .refresh("5s")
            .time("now-30m", "now")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .variables([variables.datasource(), *choices])
            .links([_others()])
        )
        if choices is variables.SERVICE:
            self._board = self._board.links([_others(), _status_page()]).annotations(NOTES)

    def over(self, begin: str, tag: str) -> None:
        """Show all from this time on. The board is apart from those of production, with a tag of its own."""
        self._board = self._board.time(begin, "now").refresh("").tags([tag]).links([])

    def row(self, title: str) -> None:
        self._break()
        self._board = self._board.with_row(
            dashboard.Row(title).id(self._id()).grid_pos(GridPos(x=0, y=self._y, w=COLUMNS, h=1))
        )
        self._y += 1

    def add(self, panel: Panel, width: int = 8) -> None:
        height = STAT_HEIGHT if isinstance(panel, stat.Panel) else CHART_HEIGHT
        if self._x + width > COLUMNS:
            self._break()
        place = GridPos(x=self._x, y=self._y, w=width, h=height)
        self._board = self._board.with_panel(panel.id(self._id()).grid_pos(place))
        self._x += width
        self._height = max(self._height, height)

    def build(self) -> Any:
        built = self._board.build()
        notes = (built.annotations and built.annotations.list_val) or []
        things: list[Any] = [*(built.links or []), *notes]
        things += [link for panel in built.panels or [] for link in getattr(panel, "links", None) or []]
        for thing in things:
            thing.placement = None  # the library hides them all in a menu
        return built

    def _break(self) -> None:
        self._x, self._y, self._height = 0, self._y + self._height, 0

    def _id(self) -> int:
        self._ids += 1
        return self._ids


_FIRING = 'ALERTS{alertstate="firing", alertname=~"CallEvents.+|RabbitMQ.+|MySQL.+"}'


def _note(name: str, expr: str, color: str) -> Any:
    note = dashboard.AnnotationQuery().name(name).datasource(SOURCE).expr(expr).icon_color(color)
    return note.enable(True)


NOTES = [
    _note("Service started", f"changes({of('ingest_start_time_seconds')}[1m]) > 0", "blue"),
    _note("Worker replaced", f"increase({of('ingest_worker_restarts_total')}[1m]) > 0", ORANGE),
    _note("Alert", _FIRING, RED),
]


def _others() -> Any:
    link = dashboard.DashboardLink("Call events").type(DashboardLinkType.DASHBOARDS).tags(["call-events"])
    return link.as_dropdown(True).keep_time(True).include_vars(False)


def _status_page() -> Any:
    link = dashboard.DashboardLink("Status page").type(DashboardLinkType.LINK)
    return link.url("${status_page}").target_blank(True)
