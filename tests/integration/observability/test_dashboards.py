"""The dashboards are made by their code, match metrics, alerts and the data source, and show data."""

import io
import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from bench.report import history
from observability.dashboards.__main__ import made
from tests.faults.harness.load import Load
from tests.faults.harness.scene import scene
from tests.observability import (
    FOLDER,
    RULE_FILES,
    alerts_named,
    all_rules,
    catalogue,
    configuration,
    dashboards,
    described,
    metrics_named,
    panels,
    queries,
)
from tests.services import (
    MysqldExporter,
    MySQLServer,
    PrometheusServer,
    RabbitMQServer,
    free_port,
    mysql_server,
    rabbitmq_server,
    wait_until,
)

DATASOURCE = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
BOARDS = dashboards()
GRID_COLUMNS = 24
SCRAPE_SECONDS = 0.5
DATA_SECONDS = 40.0
VARIABLES = {"$__rate_interval": "10s", "$__range": "10s", "$instance": ".*"}
"""The values of Grafana's variables: all hosts, a short time."""
HISTORY = "benchmarks.json"
"""Its data does not come from a running service."""
QUIET = {
    "changes(ingest_start_time_seconds[1m]) > 0": "the service starts before Prometheus does",
    "increase(ingest_worker_restarts_total[1m]) > 0": "no worker dies",
    'ALERTS{alertstate="firing", alertname=~"CallEvents.+|RabbitMQ.+|MySQL.+"}': "all is well",
}
"""Annotations that a healthy service does not have → reason."""
board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def filled_in(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def test_files_are_what_the_code_makes() -> None:
    """Run `make dashboards` after a change of the code. Never change the files."""
    assert {file.name: file.read_text("utf-8") for file in (FOLDER / "grafana/dashboards").iterdir()} == {
        file.name: text for file, text in made().items()
    }


def test_they_name_only_existing_metrics_jobs_and_alerts() -> None:
    listed = [query for dashboard in BOARDS.values() for query in queries(dashboard)]
    assert metrics_named(" ".join(listed)) - described().keys() == set()
    texts = " ".join(panel["description"] for dashboard in BOARDS.values() for panel in panels(dashboard))
    assert alerts_named(texts) <= {rule["alert"] for rule in all_rules() if "alert" in rule}


def test_they_show_every_metric() -> None:
    shown = metrics_named(" ".join(query for dashboard in BOARDS.values() for query in queries(dashboard)))
    assert catalogue().keys() - shown == set()
    assert described().keys() - shown == set()


@board
def test_panels_have_ids_and_units_and_do_not_overlap(board: Any) -> None:
    shown = panels(board)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert len({panel["title"] for panel in shown}) == len(shown)
    for panel in shown:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"], panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= GRID_COLUMNS, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]
    for one, other in itertools.combinations(board["panels"], 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)


@board
def test_everything_asks_the_provisioned_data_source(board: Any) -> None:
    (source,) = DATASOURCE["datasources"]
    asking = [*panels(board), *(target for panel in panels(board) for target in panel["targets"])]
    asking += [*board["templating"]["list"], *board["annotations"]["list"]]
    assert {(thing["datasource"]["type"], thing["datasource"]["uid"]) for thing in asking} == {
        (source["type"], source["uid"])
    }
    assert source["jsonData"]["timeInterval"] == configuration()["global"]["scrape_interval"]


@board
def test_each_leads_to_the_others(board: Any) -> None:
    (tag,) = {tag for one in BOARDS.values() for tag in one["tags"]}
    assert [link["tags"] for link in board["links"] if link["type"] == "dashboards"] == [[tag]]


def configuration_for(ports: dict[str, int]) -> str:
    """Return the configuration file with other targets and a shorter interval."""
    config = configuration()
    config["global"] = {"scrape_interval": f"{SCRAPE_SECONDS * 1000:.0f}ms", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / name) for name in RULE_FILES]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
    return str(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def own_mysql() -> Iterator[MySQLServer]:
    with mysql_server() as server:
        yield server


@pytest.fixture(scope="module")
def own_rabbitmq() -> Iterator[RabbitMQServer]:
    with rabbitmq_server(metrics=True) as server:
        yield server


@pytest.fixture
def prometheus(own_mysql: MySQLServer, own_rabbitmq: RabbitMQServer) -> Iterator[PrometheusServer]:
    """Prometheus, which scrapes a busy service and its servers."""
    with (
        scene(
            own_mysql, own_rabbitmq, {"LISTENER": "granian", "WORKERS": "2", "SERVER_METRICS_PORT": str(free_port())}
        ) as here,
        MysqldExporter(own_mysql) as exporter,
        Load(here.service.port),
    ):
        ports = {"call-events": here.service.port, "rabbitmq": own_rabbitmq.metrics_port, "mysql": exporter.port}
        with PrometheusServer(configuration_for(ports)) as server:
            yield server


def has_data(prometheus: PrometheusServer, query: str, time: float | None = None) -> bool:
    series = prometheus.query(filled_in(query), time)
    return not all(math.isnan(float(one["value"][1])) for one in series)  # an unused route has no value


def test_every_query_finds_data_of_a_service_at_work(prometheus: PrometheusServer) -> None:
    boards = {name: board for name, board in BOARDS.items() if name != HISTORY}
    waiting = {query for one in boards.values() for query in queries(one)} - QUIET.keys()

    def all_found() -> bool:
        waiting.intersection_update({query for query in waiting if not has_data(prometheus, query)})
        return not waiting

    assert wait_until(all_found, DATA_SECONDS), sorted(waiting)
    for query in QUIET:
        assert prometheus.query(query) == [], query


def test_every_query_of_the_history_finds_the_results_that_are_kept() -> None:
    output = io.StringIO()
    history.main(output)
    newest = max(float(line.split()[-1]) for line in output.getvalue().splitlines() if not line.startswith("#"))
    with PrometheusServer("global: {}", output.getvalue()) as prometheus:
        asked = [query for query in queries(BOARDS[HISTORY]) if query not in QUIET]
        assert [query for query in asked if not has_data(prometheus, query, newest)] == []
