"""Prometheus's configuration, the alerts, the dashboard, and their README: of one piece with the service's metrics."""

import itertools
import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from ingest.answers import STATUSES
from ingest.app import runtime_metrics
from ingest.metrics import REFUSAL_CODES, Metrics
from ingest.settings import Settings
from tests.conftest import StartService
from tests.faults.load import Load
from tests.services import PrometheusServer, free_port, wait_until

FOLDER = Path(__file__).resolve().parents[2] / "observability"
README = (FOLDER / "README.md").read_text("utf-8")
DASHBOARD = json.loads((FOLDER / "grafana/dashboards/overview.json").read_text("utf-8"))
DATASOURCE = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
RULE_FILES = ("alerts.yml", "slo.yml")
ALL_RULES = [
    rule
    for name in RULE_FILES
    for group in yaml.safe_load((FOLDER / name).read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
RULES = [rule for rule in ALL_RULES if "alert" in rule]
PANELS = DASHBOARD["panels"]
GRID_COLUMNS = 24
SCRAPE_SECONDS = 0.5
DATA_SECONDS = 30.0
VARIABLES = {"$__rate_interval": "10s", "$__range": "10s", "$instance": ".*"}
"""What Grafana would put into the queries: all hosts, a short time."""
UNITS = {
    *("bytes", "seconds", "microseconds", "events", "batches", "requests", "connections", "processes", "threads"),
    *("tasks", "files", "collections", "0 or 1", "1"),
}


def queries() -> list[str]:
    """Every query of the dashboard, and that of its variable."""
    listed = [target["expr"] for panel in PANELS for target in panel["targets"]]
    (variable,) = DASHBOARD["templating"]["list"]
    (label_values,) = re.findall(r"label_values\((.+), \w+\)", variable["query"]["query"])
    for name, value in VARIABLES.items():
        listed = [query.replace(name, value) for query in listed]
    return [label_values, *listed]


def catalogue() -> dict[str, tuple[str, set[str]]]:
    """Name → type and labels of every metric there is."""
    registry = CollectorRegistry()
    Metrics(registry)
    runtime_metrics(Settings(), registry)
    found = {}
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        found[name] = (metric.type, labels)
    return found


def status_of_codes() -> dict[str, int]:
    statuses = {kind.code: status for kind, status in STATUSES.items()}
    return {code: statuses.get(code, 500) for code in REFUSAL_CODES}


def rows(heading: str, cells: int) -> Iterator[list[str]]:
    """The rows of the README's table below a heading, without the backquotes of the first cell."""
    section = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| `"):
            row = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(row) == cells, line
            yield [row[0].strip("`"), *row[1:]]


def test_every_metric_is_in_the_readme_and_no_other() -> None:
    described = {}
    for name, kind, unit, labels, meaning, advice in rows("Metrics", 6):
        assert unit in UNITS, name
        assert (unit == "seconds") == ("_seconds" in name), name
        assert meaning, name
        assert advice, name
        described[name] = (kind, set(re.findall(r"`(\w+)`", labels)))
    assert described == catalogue()


def test_every_code_of_a_refusal_is_in_the_readme_with_its_status() -> None:
    assert {code: int(status) for code, status, _ in rows("Codes of refusals", 3)} == status_of_codes()


def test_dashboard_and_alerts_name_only_metrics_that_there_are() -> None:
    text = " ".join([*queries(), *(rule["expr"] for rule in ALL_RULES)])
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bingest_\w+", text)}
    assert named - catalogue().keys() == set()
    assert set(re.findall(r'job="([^"]+)"', text)) <= {job["job_name"] for job in configuration()["scrape_configs"]}


def test_dashboard_shows_every_metric() -> None:
    text = " ".join(queries())
    assert [name for name in catalogue() if name not in text] == []


def test_codes_of_5xx_are_told_from_the_others_everywhere() -> None:
    """A new code of an error would else be counted as the clients' fault."""
    own = {code for code, status in status_of_codes().items() if status >= 500}
    selections = re.findall(r'code[=!]~"([^"]+)"', " ".join([*queries(), *(rule["expr"] for rule in ALL_RULES)]))
    assert len(selections) == 9
    assert all(set(selection.split("|")) == own for selection in selections)


def test_panels_have_ids_units_and_room_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"], panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= GRID_COLUMNS, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]
    for one, other in itertools.combinations(PANELS, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)


def test_everything_on_the_dashboard_asks_the_provisioned_data_source() -> None:
    (source,) = DATASOURCE["datasources"]
    asking = [*PANELS, *(target for panel in PANELS for target in panel["targets"]), *DASHBOARD["templating"]["list"]]
    assert {(thing["datasource"]["type"], thing["datasource"]["uid"]) for thing in asking} == {
        (source["type"], source["uid"])
    }
    assert source["jsonData"]["timeInterval"] == configuration()["global"]["scrape_interval"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 100


def test_alerts_named_by_panels_and_texts_are_there_and_each_is_tested() -> None:
    alerts = {rule["alert"] for rule in RULES}
    texts = [*(panel["description"] for panel in PANELS), *(rule["annotations"]["description"] for rule in RULES)]
    assert set(re.findall(r"\bCallEvents[A-Z]\w+", " ".join(texts))) <= alerts
    tested = "".join(file.read_text("utf-8") for file in FOLDER.glob("*.test.yml"))
    assert [alert for alert in alerts if alert not in tested] == []


@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "--lint-fatal", "prometheus.yml"],
        *(["test", "rules", file.name] for file in sorted(FOLDER.glob("*.test.yml"))),
    ],
    ids=" ".join,
)
def test_promtool_passes(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def configuration() -> Any:
    return yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))


def configuration_for(port: int) -> str:
    """The file itself, with another target, more often, and RabbitMQ's plugin (here: nobody) elsewhere."""
    config = configuration()
    config["global"] = {"scrape_interval": f"{SCRAPE_SECONDS * 1000:.0f}ms", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / name) for name in RULE_FILES]
    targets = {"call-events": port, "rabbitmq": free_port()}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    return str(yaml.safe_dump(config))


def has_data(prometheus: PrometheusServer, query: str) -> bool:
    series = prometheus.query(query)
    return not all(math.isnan(float(one["value"][1])) for one in series)  # a route that is not used has none


def test_every_query_of_dashboard_and_alerts_finds_data_of_a_service_at_work(start_service: StartService) -> None:
    # An alert is silent while all is well: what it compares must be there all the same.
    compared = [part for rule in RULES for part in re.split(r" (?:==|>) [\d. *]+(?:\n +and\n)?", rule["expr"])]
    waiting = [*queries(), *filter(str.strip, compared)]
    service = start_service(WORKERS="2")
    service.wait_for_status("ready")
    with PrometheusServer(configuration_for(service.port)) as prometheus, Load(service.port):

        def all_found() -> bool:
            waiting[:] = [query for query in waiting if not has_data(prometheus, query)]
            return not waiting

        assert wait_until(all_found, DATA_SECONDS), waiting
        assert prometheus.query('ALERTS{alertstate="firing"}') == []
