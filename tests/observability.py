"""Reads the files of `observability/`: dashboards, rules and the catalogue of metrics."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from ingest.auth.tokens import CONFIGURED
from ingest.http.responses import STATUSES
from ingest.server.app import runtime_metrics
from ingest.settings import Settings
from ingest.telemetry.labels import REFUSAL_CODES
from ingest.telemetry.metrics import Metrics
from tests.paths import DOCS, ROOT

FOLDER = ROOT / "observability"
RULE_FILES = ("alerts.yml", "slo.yml", "sources.yml")

Catalogue = dict[str, tuple[str, set[str]]]
"""A metric's name → its type and labels."""


def catalogue() -> Catalogue:
    """Return every metric of the service."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for by_token in (metrics.token_events, metrics.token_limited, metrics.token_last_event_seconds):
        by_token.labels(CONFIGURED)  # a worker begins this series; without one there is no label to see
    metrics.begin_adapted(["asterisk"])  # likewise
    runtime_metrics(Settings(), registry)
    found = {}
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        found[name] = (metric.type, labels)
    return found


def granian_catalogue(exposition: bytes) -> Catalogue:
    """Return Granian's metrics in a scrape."""
    return {
        family.name: (family.type, {label for sample in family.samples for label in sample.labels})
        for family in text_string_to_metric_families(exposition.decode())
        if family.name.startswith("granian_")
    }


def described() -> Catalogue:
    """Return the metrics in the tables of docs/metrics.md."""
    return {row[0]: (row[1], set(re.findall(r"`(\w+)`", row[3]))) for row in rows("metrics.md", "Metrics", 6)}


def rows(document: str, heading: str, cells: int) -> Iterator[list[str]]:
    """Yield rows of a document's tables below a heading, without the backquotes of the first cell."""
    section = (DOCS / document).read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| `"):
            row = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(row) == cells, line
            yield [row[0].strip("`"), *row[1:]]


def status_of_codes() -> dict[str, int]:
    """Return each error code's status."""
    statuses = {kind.code: status for kind, status in STATUSES.items()}
    return {code: statuses.get(code, 500) for code in REFUSAL_CODES}


def all_rules() -> list[dict[str, Any]]:
    """Return alerts and recording rules."""
    files = [_yaml(name) for name in RULE_FILES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in all_rules() if "alert" in rule]


def configuration() -> Any:
    """Return Prometheus's configuration."""
    return _yaml("prometheus.yml")


def _yaml(name: str) -> Any:
    """The loader in C takes a tenth of the time. Many modules read the rules when they are imported."""
    return yaml.load((FOLDER / name).read_text("utf-8"), yaml.CSafeLoader)


def dashboards() -> dict[str, Any]:
    """Return file name → dashboard."""
    files = sorted((FOLDER / "grafana").glob("*/*.json"))
    return {file.name: json.loads(file.read_text("utf-8")) for file in files}


def panels(dashboard: Any) -> list[Any]:
    """Return the panels with queries."""
    return [panel for panel in dashboard["panels"] if panel["type"] not in ("row", "text")]


def queries(dashboard: Any) -> list[str]:
    """Return every query of the dashboard's panels, variables and annotations."""
    listed = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    for variable in dashboard["templating"].get("list", []):
        if match := re.fullmatch(r"label_values\((.+), \w+\)|query_result\((.+)\)", variable["query"]):
            listed.append(match[1] or match[2])
    return listed + [one["expr"] for one in dashboard["annotations"].get("list", []) if "expr" in one]


def alerts_named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:CallEvents|RabbitMQ|MySQL)[A-Z]\w+", text))


def metrics_named(text: str) -> set[str]:
    """Return names of metrics in the text, of the service and of Granian, without suffixes of histograms."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:ingest|granian)_\w+", text)}
