"""Wheel and sdist: the same bytes wherever and whenever they are built, and all that an index shows of them."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import pytest
from markdown_it import MarkdownIt

from ingest import __version__
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SOURCES = [*PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"], ".gitignore"]
GIT = {"GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@example.com"} | {
    "GIT_COMMITTER_NAME": "T",
    "GIT_COMMITTER_EMAIL": "t@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}
HERE = {"TZ": "Asia/Baku", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}
ELSEWHERE = {"TZ": "America/Los_Angeles", "LC_ALL": "C", "PYTHONHASHSEED": "2"}
LONG_AGO = 1_000_000_000


class Built(NamedTuple):
    checkout: Path
    commit: str
    first: Path
    """The folder with wheel and sdist of one checkout."""
    second: Path
    """The same, of a clone with another umask, time zone, locale and file times."""
    of_sdist: Path
    """A wheel that was built from the sdist, without git."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("package")
    commit = make_checkout(folder / "a checkout", 0o022)
    git(folder, "clone", "-q", "a checkout", "clone", umask=0o077)
    for path in (folder / "clone").rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    build(folder / "a checkout", folder / "first", HERE, 0o022)
    build(folder / "clone", folder / "second", ELSEWHERE, 0o077)
    (sdist,) = (folder / "first").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    build(folder / sdist.name.removesuffix(".tar.gz"), folder / "of sdist", HERE, 0o022, "-t", "wheel")
    return Built(folder / "a checkout", commit, folder / "first", folder / "second", folder / "of sdist")


def make_checkout(folder: Path, umask: int) -> str:
    """Make a repository of the sources as they are here, with one commit. Return the commit."""
    listed = ["git", "ls-files", "-co", "--exclude-standard", "--", *SOURCES]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "All."]):
        git(folder, *words, umask=umask)
    return git(folder, "rev-parse", "HEAD").strip()


def git(folder: Path, *words: str, umask: int = 0o022) -> str:
    environment = {"PATH": os.environ["PATH"]} | GIT
    done = subprocess.run(
        ["git", *words], cwd=folder, env=environment, umask=umask, capture_output=True, text=True, check=True
    )
    return done.stdout


def build(source: Path, destination: Path, environment: Mapping[str, str], umask: int, *options: str) -> None:
    """Build with the locked packages of this venv, which need no network."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(destination), *options]
    variables = {"PATH": os.environ["PATH"], **environment}
    subprocess.run(command, cwd=source, env=variables, umask=umask, capture_output=True, check=True)


def metadata(folder: Path) -> Message:
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def description(folder: Path) -> str:
    return bytes(metadata(folder).get_payload(decode=True)).decode()


def test_builds_in_two_folders_have_the_same_bytes(built: Built) -> None:
    names = sorted(path.name for path in built.first.iterdir())

    assert names == [f"call_events_ingest-{__version__}-py3-none-any.whl", f"call_events_ingest-{__version__}.tar.gz"]
    for name in names:
        assert (built.first / name).read_bytes() == (built.second / name).read_bytes(), name


def test_wheel_of_the_sdist_has_the_bytes_of_the_wheel_of_the_checkout(built: Built) -> None:
    (wheel,) = built.of_sdist.iterdir()

    assert wheel.read_bytes() == (built.first / wheel.name).read_bytes()


def test_unpacked_wheel_names_its_commit_without_git(built: Built, tmp_path: Path) -> None:
    (wheel,) = built.first.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        assert not [name for name in archive.namelist() if "build_hook" in name]

    command = [sys.executable, "-c", "from ingest.__main__ import main; main()", "--version"]
    ran = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=True)

    assert ran.stdout == f"ingest, version {__version__} (commit {built.commit[:12]})\n"


def test_metadata_is_complete_and_passes_what_an_index_checks(built: Built) -> None:
    found = metadata(built.first)

    assert found["Name"] == PROJECT["project"]["name"]
    assert found["Author"] in (ROOT / "LICENSE").read_text("utf-8")
    assert found["License-Expression"] == "MIT"
    assert found["Requires-Python"] == ">=3.11"
    assert len(found["Summary"]) <= 512
    assert set(found.get_all("Classifier", [])) >= {"Programming Language :: Python :: 3.13", "Framework :: AsyncIO"}
    assert found["Description-Content-Type"] == "text/markdown"
    assert not found.get_all("Project-URL")  # the project has no address that would stay


def test_description_renders_without_the_checkout(built: Built) -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(description(built.first))
    inline = [child for token in tokens for child in token.children or ()]
    targets = [
        str(one.attrs.get("href") or one.attrs.get("src")) for one in inline if one.type in {"link_open", "image"}
    ]

    assert [one for one in targets if not re.match(r"https?:|#", one)] == []
    assert next(token.tag for token in tokens if token.type == "heading_open") == "h1"
    assert not [token.content for token in tokens if token.type == "html_block"]
    assert [token.type for token in tokens].count("table_open") == 2
    assert "](" not in re.sub(r"```.*?```", "", description(built.first), flags=re.DOTALL)


def test_commit_that_is_none_is_refused(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "CALL_EVENTS_COMMIT": "main"}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert ran.returncode != 0
    assert "CALL_EVENTS_COMMIT=main is no commit" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_package_has_every_file_of_the_service_and_no_other(built: Built) -> None:
    (wheel,) = built.first.glob("*.whl")
    packed = {name for name in ZipFile(wheel).namelist() if name.startswith("ingest/")}
    names = git(built.checkout, "ls-files").splitlines()

    own = {re.sub("^sql/", "ingest/sql/", name) for name in names if name.startswith(("ingest/", "sql/"))}
    assert packed == own - {"ingest/build_hook.py"} | {"ingest/commit.txt", "ingest/http/pages/runbooks.md"}
