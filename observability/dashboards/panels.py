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
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from observability.dashboards.queries import Query

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
COLUMNS, STAT_HEIGHT, CHART_HEIGHT = 24, 4, 8
GREEN, ORANGE, RED = "green", "orange", "red"

Steps = Sequence[tuple[float | None, str]]
"""Each value begins a color. None stands for the lowest value."""
Panel = Any
"""A builder of one of the library's panels."""


def figure(title: str, unit: str, query: Query, steps: Steps, description: str) -> Panel:
    """One number, in the color of its step."""
    panel = stat.Panel().title(title).unit(unit).description(description).datasource(SOURCE).thresholds(_steps(steps))
    reduced = ReduceDataOptions().calcs(["lastNotNull"])
    return panel.reduce_options(reduced).color_mode(common.BigValueColorMode.BACKGROUND).with_target(_target(query, 0))


def chart(title: str, unit: str, queries: Sequence[Query], description: str, steps: Steps = ()) -> Panel:
    """Lines over time. The steps, if any, are the alert's bounds."""
    panel = (
        timeseries.Panel()
        .title(title)
        .unit(unit)
        .description(description)
        .datasource(SOURCE)
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
    panel = heatmap.Panel().title(title).unit("s").description(description).datasource(SOURCE).with_target(target)
    colors = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return panel.color(colors).y_axis(heatmap.YAxisConfig().unit("s"))


def text(title: str, content: str) -> Panel:
    """Markdown."""
    return textpanel.Panel().title(title).mode(TextMode.MARKDOWN).content(content)


def _target(query: Query, number: int) -> Any:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
    return target.ref_id(chr(ord("A") + number)).datasource(SOURCE)


def _steps(steps: Steps) -> Any:
    listed = [Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(listed)


class Board:
    """A dashboard that is filled row by row. A panel goes beside the last one while there is room."""

    def __init__(self, name: str, title: str, description: str, hosts_of: str = 'up{job="call-events"}') -> None:
        """`hosts_of` is the series whose label `instance` the variable lists."""
        self.name = name
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
            .with_variable(_instances(hosts_of))
            .link(_others())
            .link(dashboard.DashboardLink("Status page").type(DashboardLinkType.LINK).url(STATUS).target_blank(True))
        )
        for note in NOTES:
            self._board = self._board.annotation(note)

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
        return self._board.build()

    def _break(self) -> None:
        self._x, self._y, self._height = 0, self._y + self._height, 0

    def _id(self) -> int:
        self._ids += 1
        return self._ids


STATUS = "http://localhost:8000/"
"""The status page in the compose file. Other installations have their own address."""
_FIRING = 'ALERTS{alertstate="firing", alertname=~"CallEvents.+|RabbitMQ.+|MySQL.+"}'


def _note(name: str, expr: str, color: str) -> Any:
    note = dashboard.AnnotationQuery().name(name).datasource(SOURCE).expr(expr).icon_color(color)
    return note.enable(True)


NOTES = (
    _note("Service started", "changes(ingest_start_time_seconds[1m]) > 0", "blue"),
    _note("Worker replaced", "increase(ingest_worker_restarts_total[1m]) > 0", ORANGE),
    _note("Alert", _FIRING, RED),
)


def _instances(hosts_of: str) -> Any:
    variable = dashboard.QueryVariable("instance").label("Host").datasource(SOURCE)
    variable = variable.query(f"label_values({hosts_of}, instance)").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".*")


def _others() -> Any:
    link = dashboard.DashboardLink("Call events").type(DashboardLinkType.DASHBOARDS).tags(["call-events"])
    return link.as_dropdown(True).keep_time(True).include_vars(False)
