"""`make lock` reports what changed, and `.ci/audit` asks an index what is yanked."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.paths import ROOT

LOCK = "{}=={} \\\n    --hash=sha256:{} \\\n    --hash=sha256:{}\n"


def report(folder: Path, old: str, new: str) -> list[str]:
    for name, text in (("old", old), ("new", new)):
        (folder / name).mkdir()
        (folder / name / "requirements.lock").write_text(text)
    command = [sys.executable, ".ci/lock_changes.py", str(folder / "old"), str(folder / "new")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_report_names_each_change(tmp_path: Path) -> None:
    old = "".join(
        LOCK.format(name, version, "a", "b")
        for name, version in (("gone", "1"), ("same", "1"), ("bigger", "1.9.9"), ("older", "2.1"), ("hashes", "1"))
    )
    new = "".join(
        LOCK.format(name, version, *hashes)
        for name, version, hashes in (
            ("same", "1", "ba"),
            ("bigger", "2.0.0", "ab"),
            ("older", "2.0.5", "ab"),
            ("hashes", "1", "ac"),
            ("new", "0.1", "ab"),
        )
    )

    assert report(tmp_path, old, new) == [
        "requirements.lock:",
        "  bigger 1.9.9 -> 2.0.0 (major)",
        "- gone 1",
        "! hashes 1: 1 of 2 hashes went",
        "+ new 0.1",
        "  older 2.1 -> 2.0.5 (back)",
    ]


def test_report_of_no_change_says_so(tmp_path: Path) -> None:
    text = LOCK.format("same", "1", "a", "b")

    assert report(tmp_path, text, text) == ["No lock has changed."]


class Index:
    """A package index in a folder, as pip reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, attributes: str = "") -> None:
        page = self.folder / name / "index.html"
        page.parent.mkdir()
        file = f"{name}-1.0-py3-none-any.whl"
        with ZipFile(page.parent / file, "w") as wheel:
            about = f"{name}-1.0.dist-info"
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
        page.write_text(f'<!DOCTYPE html><title>{name}</title><a href="{file}" {attributes}>{file}</a>')

    def audit(self, *names: str) -> "subprocess.CompletedProcess[str]":
        lock = self.folder / "requirements.lock"
        lock.write_text("".join(LOCK.format(name, "1.0", "a", "b") for name in names))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | {
            "PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.folder.as_uri(),
        }
        command = ["sh", ".ci/audit", "yanked", str(lock)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path)


def test_yanked_package_is_named_with_the_reason(index: Index) -> None:
    index.add("sound")
    index.add("withdrawn", 'data-yanked="loses events"')

    ran = index.audit("sound", "withdrawn")

    assert ran.returncode == 1
    assert "withdrawn" in ran.stderr
    assert "loses events" in ran.stderr
    assert "sound" not in ran.stderr


def test_sound_packages_are_no_finding(index: Index) -> None:
    index.add("sound")

    ran = index.audit("sound")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "no package as yanked" in ran.stdout


def test_index_without_an_answer_is_no_good_news(index: Index) -> None:
    ran = index.audit("unheard-of")

    assert ran.returncode == 1
    assert "nothing is known" in ran.stderr
