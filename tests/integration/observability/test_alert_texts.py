"""The texts of alerts read well for each value that can fire them: small, large, and one."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability import FOLDER, alerts

RULES = {rule["alert"]: rule for rule in alerts()}
VALUE = re.compile(r"\$value(?: \| (\w+))?")
FORMATS = {"humanizePercentage", "humanizeDuration", "humanize1024", "printf"}
"""`humanize` shows 0.003 a second as "3m". A value without a format may be "1e+06"."""
CASES: dict[str, tuple[dict[str, str], str, str]] = {
    "CallEventsDiskFilling": (
        {"ingest_disk_free_bytes": "100000000000-150000000x300"},
        "110m",
        "a: the disk of the data folder has 62.4GiB left, or is full within hours.",
    ),
    "CallEventsWorkersDying": (
        {"ingest_worker_restarts_total": "0 0 1 1 2 2 3 3 4 4 4x20"},
        "9m",
        "a: workers died, 4 within ten minutes.",
    ),
    "CallEventsWorkersMissing": (
        {"ingest_workers": "1x20", "ingest_workers_wanted": "2x20"},
        "5m",
        "a: fewer workers run than INGEST_WORKERS asks for: 1.",
    ),
    "CallEventsPublishFailing": (
        {"ingest_events_publish_failed_total": "0+1x40", "ingest_broker_up": "1x40"},
        "15m",
        "a: RabbitMQ is up, but refuses events, less than 1 a second.",
    ),
    "CallEventsSpoolUsed": (
        {"ingest_spool_events": "1234567x40", "ingest_database_up": "1x40"},
        "15m",
        "a: events stay in the spool although the database is up: 1234567.",
    ),
    "CallEventsBacklogOld": (
        {"ingest_backlog_age_seconds": "121x20"},
        "5m",
        "a: events have waited 2m 1s to be published.",
    ),
}


def instance(name: str) -> dict[str, Any]:
    rule = RULES[name]
    series, at, summary = CASES[name]
    expected = {"severity": rule["labels"]["severity"], "instance": "a"}
    return {
        "interval": "30s",
        "input_series": [
            {"series": f'{metric}{{instance="a"}}', "values": values} for metric, values in series.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": at,
                "alertname": name,
                "exp_alerts": [
                    {"exp_labels": expected, "exp_annotations": {**rule["annotations"], "summary": summary}}
                ],
            }
        ],
    }


def test_summaries_have_the_value_in_words(tmp_path: Path) -> None:
    file = tmp_path / "texts.test.yml"
    tests = {
        "rule_files": [str(FOLDER / "alerts.yml")],
        "evaluation_interval": "30s",
        "tests": [instance(name) for name in CASES],
    }
    file.write_text(yaml.safe_dump(tests), "utf-8")

    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_value_has_a_format_and_no_noun_that_would_need_a_plural(rule: dict[str, Any]) -> None:
    for text in rule["annotations"].values():
        shown = [found for found in re.findall(r"\{\{ (.*?) \}\}", text) if found.startswith("$value")]
        assert {VALUE.match(one)[1] for one in shown} <= FORMATS  # type: ignore[index]
        assert not re.search(r"\$value[^}]*\}\} (?!a second|of the|within|full|left|or|at|to)\w*s\b", text)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_value_that_is_shown_is_no_prediction(rule: dict[str, Any]) -> None:
    """`predict_linear` may fall below zero. As a condition (`and`) it does not become the value."""
    predicted = re.findall(r"(\w*)\s+predict_linear", rule["expr"])

    assert set(predicted) <= {"and"}
