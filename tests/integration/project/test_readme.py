"""The first commands of README.md are run as a reader runs them, in a copy of the tree."""

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest

from ingest.http.openapi import document
from ingest.settings import Settings
from tests.documents import blocks
from tests.paths import DOCS, ROOT
from tests.services import free_port, wait_until

README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
LINES_MAX = 120
SETTINGS_SHOWN = 10

START_SECONDS = 120
SECONDS = 60
OF_THE_TESTS = {"test_mysql_url", "test_amqp_url", "test_stream_url", "test_cache"}
"""Addresses of servers for the tests, and the folder that keeps what they make once."""


def commands() -> list[str]:
    return [line for block in blocks() if block.document == "README.md" for line in block.text.splitlines()]


def command(start: str) -> str:
    (found,) = [line for line in commands() if line.startswith(start)]
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the tree as it is, with the environment that `make` has made already."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    venv = tmp_path / ".venv"
    venv.mkdir()
    for path in (ROOT / ".venv").iterdir():
        if not path.name.startswith("installed"):
            (venv / path.name).symlink_to(path)
    (venv / "installed").touch()  # newer than all it depends on: make has nothing to install
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("INGEST_", "MAKE"))}
    return clean | {"INGEST_PORT": str(free_port())}


def is_ready(port: str) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def running(checkout: Path, environment: dict[str, str]) -> Iterator[Path]:
    """The README's first command, on another port; the file that it prints to."""
    output = checkout / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            shlex.split(command("make run")),
            cwd=checkout,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        assert wait_until(lambda: is_ready(environment["INGEST_PORT"]), START_SECONDS), output.read_text()
        yield output
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(START_SECONDS)


def test_the_first_commands_store_an_event_and_print_it(
    running: Path, checkout: Path, environment: dict[str, str]
) -> None:
    def shell(line: str) -> str:
        line = line.replace("localhost:8000", f"localhost:{environment['INGEST_PORT']}")
        return subprocess.run(
            ["sh", "-c", line],
            cwd=checkout,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        ).stdout

    curl = command("curl")
    sent = json.loads(shlex.split(curl)[shlex.split(curl).index("-d") + 1])
    assert shell(curl) == '{"status":"queued"}'
    assert json.loads(shell(command(".venv/bin/ingest tail"))) == sent
    with closing(sqlite3.connect(checkout / "var" / "call-events.db")) as database:
        rows = database.execute("SELECT payload FROM call_event_logs").fetchall()
    assert [json.loads(payload) for (payload,) in rows] == [sent]


def test_curl_is_the_one_of_the_api_description() -> None:
    (sample,) = document()["paths"]["/api/call-events"]["post"]["x-codeSamples"]

    assert command("curl") == sample["source"]


def test_make_run_first_prints_the_urls_to_open_and_a_curl(running: Path, environment: dict[str, str]) -> None:
    lines = running.read_text().splitlines()
    url = f"http://localhost:{environment['INGEST_PORT']}"
    assert [line.split()[-1] for line in lines[:3]] == [f"{url}/", f"{url}/docs", f"{url}/api/call-events"]
    (curl,) = [line for line in lines if line.startswith("Try: ")]
    assert shlex.split(curl)[1:] == shlex.split(command("curl").replace("http://localhost:8000", url))
    assert any(line.endswith(" .venv/bin/ingest demo") for line in lines)


@pytest.mark.parametrize(
    "target", ["run", "test", "test-mysql", "budgets", "install", *re.findall(r"`?\bmake ([a-z-]+)", CONTRIBUTING)]
)
def test_make_knows_the_target(target: str) -> None:
    subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_the_readme_shows_ten_settings_with_their_defaults() -> None:
    """docs/settings.md has all; `tests/unit/project/test_settings_doc.py` compares it with the definitions."""
    rows = re.findall(r"^\| `INGEST_(\w+)` \| (?:`(.*?)`)? ?\|", README, re.MULTILINE)
    defaults = Settings()
    expected = []
    for name, _ in rows:
        value = getattr(defaults, name.lower())
        expected.append((name, "" if value in ("", ()) else str(value)))
    assert rows == expected
    assert len(rows) == SETTINGS_SHOWN


def test_every_setting_that_a_document_names_exists() -> None:
    texts = "".join(file.read_text("utf-8") for file in (*ROOT.glob("*.md"), *DOCS.rglob("*.md")))
    known = {field.name for field in msgspec.structs.fields(Settings)}
    assert {name.lower() for name in re.findall(r"\bINGEST_([A-Z_]*[A-Z])\b", texts)} - known == OF_THE_TESTS


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= LINES_MAX
