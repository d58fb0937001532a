"""Prometheus's configuration and the alerts: of one piece with the service's metrics, dashboards and runbooks."""

import re
import subprocess
from typing import Any

import pytest

from tests.observability import FOLDER, alerts, all_rules, catalogue, configuration, metrics_named, status_of_codes


def test_rules_name_only_metrics_and_jobs_that_there_are() -> None:
    text = " ".join(rule["expr"] for rule in all_rules())
    assert metrics_named(text) - catalogue().keys() == set()
    assert set(re.findall(r'job="([^"]+)"', text)) <= {job["job_name"] for job in configuration()["scrape_configs"]}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 100


def test_codes_of_5xx_are_told_from_the_others_in_every_rule() -> None:
    """A new code of an error would else be counted as the clients' fault."""
    own = {code for code, status in status_of_codes().items() if status >= 500}
    selections = re.findall(r'code[=!]~"([^"]+)"', " ".join(rule["expr"] for rule in all_rules()))
    assert all(set(selection.split("|")) == own for selection in selections)


def test_every_alert_is_tested_and_those_named_in_texts_are_there() -> None:
    names = {rule["alert"] for rule in alerts()}
    texts = " ".join(rule["annotations"]["description"] for rule in alerts())
    assert set(re.findall(r"\bCallEvents[A-Z]\w+", texts)) <= names
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
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
