"""Prometheus's configuration and the alerts match the service's metrics, dashboards and runbooks."""

import os
import re
import subprocess
from typing import Any

import pytest

from ingest.cli.main import COMMANDS
from observability.dashboards.sections import sections
from tests.observability import (
    FOLDER,
    alerts,
    alerts_named,
    all_rules,
    catalogue,
    configuration,
    dashboards,
    metrics_named,
)

RUNBOOKS = sections()
FOR_PROMTOOL = {**os.environ, "GOGC": "800"}
"""promtool makes much garbage. It collects it less often, which takes less CPU time and more memory."""
URL = re.compile(r"http://localhost:3000/d/call-events-runbooks\?viewPanel=(\d+)")


def test_rules_name_only_existing_metrics_and_jobs() -> None:
    text = " ".join(rule["expr"] for rule in all_rules())
    assert metrics_named(text) - catalogue().keys() == set()
    assert set(re.findall(r'job="([^"]+)"', text)) <= {job["job_name"] for job in configuration()["scrape_configs"]}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alert_has_a_severity_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 100


def test_every_alert_is_tested_and_texts_name_only_existing_ones() -> None:
    names = {rule["alert"] for rule in alerts()}
    texts = " ".join(rule["annotations"]["description"] for rule in alerts())
    assert alerts_named(texts) <= names
    tested = "".join(file.read_text("utf-8") for file in FOLDER.glob("*.test.yml"))
    assert [name for name in names if name not in tested] == []


@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "--lint-fatal", "prometheus.yml"],
        *(["test", "rules", file.name] for file in sorted(FOLDER.glob("*.test.yml"))),
    ],
    ids=" ".join,
)
def test_promtool_passes(command: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=FOLDER, env=FOR_PROMTOOL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alert_has_a_runbook_of_its_own_or_of_its_objective(rule: dict[str, Any]) -> None:
    number = URL.fullmatch(rule["annotations"]["runbook_url"])
    assert number
    title, text = RUNBOOKS[int(number[1]) - 1]
    assert rule["alert"] == title or rule["alert"] in text.partition("**Means:**")[0]


def test_runbooks_are_complete_and_in_the_order_of_the_alerts() -> None:
    numbers = [int(URL.findall(rule["annotations"]["runbook_url"])[0]) for rule in alerts()]
    assert sorted(set(numbers)) == list(range(1, len(RUNBOOKS) + 1))
    for title, text in RUNBOOKS:
        for part in ("**Means:**", "**Impact:**", "\n1. ", "**Over when**"):
            assert part in text, title


def test_runbooks_name_only_existing_things() -> None:
    shown = {panel["title"] for board in dashboards().values() for panel in board["panels"]}
    boards = {board["title"].removeprefix("Call events: ").capitalize() for board in dashboards().values()}
    names = {rule["alert"] for rule in alerts()} | {title for title, _ in RUNBOOKS}
    texts = " ".join(word for _, text in RUNBOOKS for word in text.split())
    assert alerts_named(texts) <= names
    in_panels = set(re.findall(r"[Pp]anels? \*([^*]+)\*", texts)) | set(re.findall(r"and \*([^*]+)\*", texts))
    assert in_panels - shown == set()
    assert {name.capitalize() for name in re.findall(r"\*([A-Z][^*,]+)\*[,:]", texts)} <= boards | {
        title.capitalize() for title in shown
    }
    commands = {" ".join(words.split()[:2]) for words in re.findall(r"`ingest ([^`]+)`", texts)}
    assert {words.split()[0] for words in commands} <= set(COMMANDS)
