"""The SBOM names what is locked, and fails if something else is installed or a licence is not allowed."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from ingest import __version__
from tests.paths import ROOT

LOCKED = re.compile(r"^([\w.-]+)==([^\s\\]+)", re.MULTILINE)


def locked(*names: str) -> dict[str, str]:
    return {name: version for lock in names for name, version in LOCKED.findall((ROOT / lock).read_text("utf-8"))}


def sbom(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ".ci/sbom.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A folder with the metadata of the locked packages, and nothing else."""
    for name in locked("requirements.lock"):
        files = distribution(name).files or ()
        (found,) = (file for file in files if re.fullmatch(r"[^/]+\.dist-info/METADATA", str(file)))
        (tmp_path / found).parent.mkdir()
        shutil.copyfile(str(found.locate()), tmp_path / found)
    return tmp_path


def metadata_of(installation: Path, name: str) -> Path:
    (found,) = installation.glob(f"{name}-*/METADATA")
    return found


def test_sbom_follows_the_schema_and_names_what_is_locked(tmp_path: Path) -> None:
    made = sbom("--otel", "--output", str(tmp_path / "one.json"))
    sbom("--otel", "--output", str(tmp_path / "two.json"))

    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    text = (tmp_path / "one.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == (tmp_path / "two.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    assert document["metadata"]["component"]["version"] == __version__
    named = {one["name"]: one["version"] for one in document["components"]}
    assert named == locked("requirements.lock", "requirements-otel.lock")
    assert all(one["licenses"] for one in document["components"])
    needed = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert any(one.startswith("pkg:pypi/pamqp@") for one in needed[f"pkg:pypi/aiormq@{named['aiormq']}"])
    assert not any(one.startswith("pkg:pypi/pamqp@") for one in needed["call-events-ingest"])


def test_installation_as_locked_has_no_problem(installation: Path) -> None:
    assert sbom("--site-packages", str(installation)).returncode == 0


def test_each_difference_and_each_forbidden_licence_is_named(installation: Path, tmp_path: Path) -> None:
    shutil.rmtree(metadata_of(installation, "yarl").parent)
    other = metadata_of(installation, "httptools")
    other.write_text(other.read_text("utf-8").replace("\nVersion: ", "\nVersion: 9", 1), "utf-8")
    copyleft = metadata_of(installation, "multidict")
    copyleft.write_text(
        re.sub("(?m)^License-Expression:.*$", "License-Expression: GPL-3.0-only", copyleft.read_text("utf-8"))
    )
    unknown = metadata_of(installation, "pamqp")
    unknown.write_text(re.sub("(?m)^(License|Classifier: License).*\n", "", unknown.read_text("utf-8")))
    stranger = installation / "stranger-1.0.dist-info" / "METADATA"
    stranger.parent.mkdir()
    stranger.write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")

    ran = sbom("--site-packages", str(installation), "--output", str(tmp_path / "sbom.json"))

    assert ran.returncode == 1
    assert not (tmp_path / "sbom.json").exists()
    versions = locked("requirements.lock")
    assert ran.stderr.splitlines() == [
        f"sbom: httptools is locked as {versions['httptools']}, but 9{versions['httptools']} is installed.",
        "sbom: multidict has GPL-3.0-only, which `.ci/packages.py` does not allow.",
        "sbom: pamqp has an unknown licence, which `.ci/packages.py` does not allow.",
        "sbom: stranger 1.0 is installed, but in no lock.",
        f"sbom: yarl {versions['yarl']} is locked, but not installed.",
    ]
