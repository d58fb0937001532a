"""GitHub's workflow and `.ci/run` run the same commands."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import ROOT

WORKFLOW = ".github/workflows/ci.yml"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
JOBS: dict[str, Any] = yaml.safe_load((ROOT / WORKFLOW).read_text("utf-8"))["jobs"]


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-workflows", WORKFLOWS), ("dependabot", [ROOT / ".github/dependabot.yml"])],
    ids=["workflows", "dependabot"],
)
def test_configuration_follows_its_schema(schema: str, files: list[Path]) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: str(file.name))
def test_actions_are_pinned_by_digest_with_their_version(workflow: Path) -> None:
    """A tag can be moved to other code, a commit cannot."""
    used = [line.strip().removeprefix("- ") for line in workflow.read_text("utf-8").splitlines() if "uses:" in line]
    assert [line for line in used if not PINNED.fullmatch(line) and not line.startswith("uses: ./")] == []


def test_workflow_runs_the_commands_of_ci_run() -> None:
    legs = re.findall(r"^leg ((?:test|budgets)\S*)", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)
    assert sorted(command for command in commands("all") if command.startswith("make ")) == sorted(
        f"make {leg}" for leg in legs
    )


def test_service_containers_are_those_of_the_compose_file() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    for name, container in JOBS["mysql-8-4-rabbitmq-4"]["services"].items():
        assert container["image"] == compose[name]["image"]


def test_tests_use_the_ports_of_the_service_containers() -> None:
    job = JOBS["mysql-8-4-rabbitmq-4"]
    published = {port.split(":")[0] for container in job["services"].values() for port in container["ports"]}
    given = {re.findall(r"@127\.0\.0\.1:(\d+)/", url)[0] for name, url in job["env"].items() if name.endswith("_URL")}
    assert given == published
