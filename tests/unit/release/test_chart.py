"""The Helm chart is written from the manifests, so neither can change alone. `make test-chart` renders it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.paths import DOCS, ROOT

CHART = DOCS / "kubernetes" / "chart"


def make_chart(root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(root / ".ci/release/chart/make.py"), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of the manifests, the chart and its rules."""
    for folder in (".ci/release/chart", "docs/kubernetes"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_chart_is_what_its_rules_make_of_the_manifests() -> None:
    ran = make_chart(ROOT, "--check")

    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("failureThreshold: 60", "failureThreshold: 90"),
        ("memory: 512Mi", "memory: 768Mi"),
        ("storage: 8Gi", "storage: 8Gi #"),
    ],
)
def test_changed_manifest_changes_the_chart(copy: Path, old: str, new: str) -> None:
    manifest = copy / "docs/kubernetes/statefulset.yaml"
    manifest.write_text(manifest.read_text().replace(old, new))

    ran = make_chart(copy, "--check")

    assert ran.returncode == 1
    assert "statefulset.yaml" in ran.stderr or "values.yaml" in ran.stderr or "storage" in ran.stderr


def test_changed_or_surplus_file_of_the_chart_is_found(copy: Path) -> None:
    with (copy / "docs/kubernetes/chart/values.yaml").open("a") as file:
        file.write("replicas: 9\n")
    (copy / "docs/kubernetes/chart/templates/extra.yaml").touch()

    assert "templates/extra.yaml, values.yaml" in make_chart(copy, "--check").stderr


def test_name_that_no_rule_replaces_is_an_error(copy: Path) -> None:
    with (copy / "docs/kubernetes/disruption.yaml").open("a") as file:
        file.write("      app: call-events\n")

    ran = make_chart(copy)

    assert "disruption.yaml has a name that no rule replaces: app: call-events" in ran.stderr


def test_default_values_follow_their_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))

    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    assert values.keys() == schema["properties"].keys() - {"global"}
