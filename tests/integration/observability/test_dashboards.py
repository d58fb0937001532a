"""The dashboards are made by their code, match metrics, alerts and the data source, and show data."""

import copy
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.report import history
from observability.dashboards.__main__ import made
from observability.dashboards.queries import of
from tests.faults.harness.load import Load
from tests.faults.harness.scene import scene
from tests.grafana_schema import problems
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

PROVIDERS = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/files.yml").read_text("utf-8"))["providers"]
DATASOURCE = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
BOARDS = dashboards()
GRID_COLUMNS = 24
SCRAPE_SECONDS = 0.5
DATA_SECONDS = 120.0
VARIABLES = {
    "$__rate_interval": "10s",
    "$__range": "10s",
    "$instance": ".*",
    "$job": "call-events",
    "$mysql_job": "mysql",
    "$rabbitmq_job": "rabbitmq",
}
"""The values of the variables: all hosts, a short time, the jobs of Prometheus's configuration."""
RUNBOOKS = BOARDS["runbooks.json"]
HISTORY = "benchmarks.json"
"""Its data does not come from a running service."""
QUIET = {
    f"changes({of('ingest_start_time_seconds')}[1m]) > 0": "the service starts before Prometheus does",
    f"increase({of('ingest_worker_restarts_total')}[1m]) > 0": "no worker dies",
    'ALERTS{alertstate="firing", alertname=~"CallEvents.+|RabbitMQ.+|MySQL.+"}': "all is well",
}
"""Annotations that a healthy service does not have → reason."""
board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def filled_in(query: str) -> str:
    return re.sub(r"\$\w+", lambda variable: VARIABLES[variable[0]], query)


def test_files_are_what_the_code_makes() -> None:
    """Run `make dashboards` after a change of the code. Never change the files."""
    assert {file: file.read_text("utf-8") for file in (FOLDER / "grafana").glob("*/*.json")} == made()


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
def test_json_follows_grafanas_schema(board: Any) -> None:
    assert problems(board) == []


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (lambda board: board.update(colour="red"), "board.colour"),
        (lambda board: board.update(title=7), "board.title"),
        (lambda board: board["panels"][0].update(type="stats"), "board.panels[0]"),
        (lambda board: board["panels"][0]["gridPos"].update(w="wide"), "board.panels[0].grid_pos.w"),
        (lambda board: board["panels"][0]["options"].update(colorMod="value"), "board.panels[0].options.colorMod"),
        (lambda board: board["panels"][0]["targets"][0].update(expr=1), "board.panels[0].targets[0].expr"),
        (lambda board: board["panels"][0]["datasource"].update(type="prom"), "board.panels[0].targets[0]"),
        (lambda board: board["panels"][0]["links"][0].update(address="/"), "board.panels[0].links[0].address"),
        (lambda board: board["templating"]["list"][0].update(refresh="often"), "board.templating.list_val[0].refresh"),
    ],
)
def test_schema_finds_what_grafana_does_not_know(spoil: Callable[[Any], object], place: str) -> None:
    spoiled = copy.deepcopy(BOARDS["overview.json"])
    spoil(spoiled)
    assert [found for found in problems(spoiled) if found.startswith(place)]


@board
def test_everything_asks_the_chosen_data_source(board: Any) -> None:
    first, *variables = board["templating"]["list"]
    (source,) = DATASOURCE["datasources"]
    assert (first["type"], first["name"], first["query"]) == ("datasource", "datasource", source["type"])
    asking = [*panels(board), *(target for panel in panels(board) for target in panel["targets"])]
    asking += [one for one in variables if one["type"] == "query"] + board["annotations"].get("list", [])
    assert {(one["datasource"]["type"], one["datasource"]["uid"]) for one in asking} <= {
        (source["type"], "${datasource}")
    }
    assert source["jsonData"]["timeInterval"] == configuration()["global"]["scrape_interval"]


@board
def test_no_address_and_no_job_is_fixed(board: Any) -> None:
    """A job is a variable, and a link leads within Grafana, or to a variable's address."""
    assert re.findall(r'job=~?"(?!\$)', " ".join(queries(board))) == []
    links = [link for one in [board, *board["panels"]] for link in one.get("links", []) if link["type"] == "link"]
    assert [link["url"] for link in links if not link["url"].startswith(("/d/call-events-", "${"))] == []


@board
def test_panel_that_names_an_alert_leads_to_its_runbook(board: Any) -> None:
    titles = {f"/d/call-events-runbooks?viewPanel={panel['id']}": panel["title"] for panel in RUNBOOKS["panels"]}
    for panel in panels(board):
        linked = {titles[link["url"]] for link in panel.get("links", [])}
        for alert in alerts_named(panel["description"]):
            assert any(alert.startswith(title) for title in linked), (panel["title"], alert)


def test_each_production_board_leads_to_the_others_only() -> None:
    history = BOARDS[HISTORY]
    boards = [one for one in BOARDS.values() if one is not history]
    (tag,) = {tag for one in boards for tag in one["tags"]}
    for one in boards:
        assert [link["tags"] for link in one["links"] if link["type"] == "dashboards"] == [[tag]]
    assert tag not in history["tags"]


def test_grafana_has_the_boards_in_folders_of_their_own() -> None:
    folders = {Path(one["options"]["path"]).name: one.get("folder") for one in PROVIDERS}
    assert folders == {"dashboards": "Call events", "benchmarks": "Call events: benchmarks"}
    assert {file.parent.name for file in made()} == folders.keys()
    assert [file.name for file in (FOLDER / "grafana/benchmarks").iterdir()] == [HISTORY]


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
        assert prometheus.query(filled_in(query)) == [], query


def test_every_query_of_the_history_finds_the_results_that_are_kept() -> None:
    output = io.StringIO()
    history.main(output)
    newest = max(float(line.split()[-1]) for line in output.getvalue().splitlines() if not line.startswith("#"))
    with PrometheusServer("global: {}", output.getvalue()) as prometheus:
        asked = [query for query in queries(BOARDS[HISTORY]) if query not in QUIET]
        assert [query for query in asked if not has_data(prometheus, query, newest)] == []
    begin = datetime.fromisoformat(BOARDS[HISTORY]["time"]["from"])
    assert begin.timestamp() < newest
    assert BOARDS[HISTORY]["time"]["to"] == "now"
