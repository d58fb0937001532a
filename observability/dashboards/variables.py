"""The choices at the top of a board. So the boards fit any Grafana: its data source, and the names of its jobs."""

from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableHide, VariableRefresh, VariableSort

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
STATUS = "http://localhost:8000/"
"""The status page in the compose file. Other installations change the variable's value."""
AWAY_TIME = "7d"
"""A job stays in the list for this time after its last scrape."""


def datasource() -> Any:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def job(name: str, label: str, metric: str) -> Any:
    """The jobs in Prometheus that have this metric. The first one is chosen."""
    variable = dashboard.QueryVariable(name).label(label).datasource(SOURCE)
    variable = variable.query(f"query_result(group by (job) (last_over_time({metric}[{AWAY_TIME}])))")
    return _sorted(variable.regex('/job="([^"]+)"/'))


def hosts() -> Any:
    """All hosts of the service's job, or some of them."""
    variable = dashboard.QueryVariable("instance").label("Host").datasource(SOURCE)
    variable = variable.query('label_values(up{job=~"$job"}, instance)')
    return _sorted(variable).multi(True).include_all(True).all_value(".*")


def status_page() -> Any:
    """The target of a link. It is no choice, so the board hides it."""
    return dashboard.TextBoxVariable("status_page").default_value(STATUS).hide(VariableHide.HIDE_VARIABLE)


def _sorted(variable: Any) -> Any:
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)


SERVICE = (job("job", "Job", "ingest_build_info"), hosts(), status_page())
"""The variables of a board that shows the service."""
