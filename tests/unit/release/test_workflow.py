"""The release workflow, by its text: it cannot run here. `make test-chart` reads it with actionlint, too."""

import re
import subprocess
import sys
from typing import Any

import yaml

from tests.dockerfile import IMAGE
from tests.paths import ROOT

WORKFLOW = ".github/workflows/release.yml"
TEXT = (ROOT / WORKFLOW).read_text("utf-8")
JOBS: dict[str, Any] = yaml.safe_load(TEXT)["jobs"]


def labels() -> dict[str, str]:
    """Return the labels of the Dockerfile's final stage."""
    words = [word for instruction in IMAGE if instruction.name == "LABEL" for word in instruction.words]
    return dict(word.split("=", 1) for word in words)


def test_workflow_follows_the_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_actions_are_pinned_by_the_digest_of_a_release() -> None:
    used = re.findall(r"uses: (.*)", TEXT)
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []
    assert len({one.split("@")[0] for one in used}) == len(set(used))  # one version of each


def test_only_jobs_that_sign_have_an_identity() -> None:
    for name, job in JOBS.items():
        signs = any("cosign sign" in step.get("run", "") for step in job["steps"])
        assert (job.get("permissions", {}).get("id-token") == "write") == signs, name


def test_commands_are_targets_and_files_of_the_project() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"run: make (\S+)", TEXT)) <= targets
    assert all(
        (ROOT / file).exists() for file in re.findall(r"(?:sh|package|notes-file) ((?:release|docs)/\S+|\w+\.md)", TEXT)
    )


def test_labels_in_the_registry_are_those_of_the_dockerfile() -> None:
    (step,) = [step for step in JOBS["image"]["steps"] if step.get("id") == "names"]
    given = dict(line.split("=", 1) for line in step["with"]["labels"].splitlines())
    assert given.items() <= labels().items()


def test_tag_must_be_the_version_of_service_manifests_and_chart() -> None:
    version = yaml.safe_load((ROOT / "docs/kubernetes/chart/Chart.yaml").read_text("utf-8"))["version"]

    def check(tag: str) -> "subprocess.CompletedProcess[str]":
        command = ["sh", ".ci/release/check-tag.sh", tag]
        return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    assert check(f"v{version}").returncode == 0
    assert check("v99.0.0").returncode == 1
    assert check("v99.0.0").stderr.count("the tag is v99.0.0") == 3
