"""The commit that `ingest --version` names."""

import subprocess
from pathlib import Path

import pytest

from ingest.commit import NOTE, commit_of, shortened

IDENTITY = ("-c", "user.name=T", "-c", "user.email=t@example.com")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder `ingest` of a checkout with one commit."""
    package = tmp_path / "ingest"
    package.mkdir()
    (package / "one.py").touch()
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    for words in (["init", "-q"], ["add", "-A"], [*IDENTITY, "commit", "-q", "-m", "All."]):
        git(tmp_path, *words)
    return package


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_checkout_is_named_by_its_commit(package: Path) -> None:
    (package.parent / "scratch.txt").touch()
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "one.pyc").touch()

    commit = git(package, "rev-parse", "HEAD")
    assert commit_of(str(package)) == commit
    assert shortened(commit) == commit[:12]


@pytest.mark.parametrize("changed", ["ingest/one.py", "ingest/new.py", "pyproject.toml"])
def test_change_of_what_is_packed_is_told(package: Path, changed: str) -> None:
    (package.parent / changed).write_text("changed")

    commit = git(package, "rev-parse", "HEAD")
    assert commit_of(str(package)) == f"{commit}-dirty"
    assert shortened(commit_of(str(package))) == f"{commit[:12]}-dirty"


def test_note_of_a_package_wins(package: Path) -> None:
    (package / NOTE).write_text("0123456789abcdef\n")

    assert commit_of(str(package)) == "0123456789abcdef"


def test_package_in_a_checkout_of_something_else_has_no_commit(package: Path) -> None:
    installed = package.parent / ".venv" / "lib" / "ingest"
    installed.mkdir(parents=True)

    assert commit_of(str(installed)) == ""


def test_checkout_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")

    assert commit_of(str(tmp_path / "ingest")) == ""


def test_missing_git_is_no_failure(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert commit_of(str(package)) == ""


def test_git_that_belongs_to_a_hook_names_no_other_repository(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(package, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")

    assert commit_of(str(package)) == commit
