"""Benchmarks that run for real: locust's clients, exit codes, and the service of another tree."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bench.scenarios.figures import events_answered
from bench.scenarios.runs import FOLDER, Load, run
from ingest.http.responses import QUEUED
from tests.paths import ROOT
from tests.running import EVENT, ServiceProcess

SHORT = Load(users=1, seconds=3)
USERS, SECONDS = "8", "3"


class Credulous(BaseHTTPRequestHandler):
    """Answers 200 to every request, keeps connections open, and counts them."""

    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(QUEUED.body)))
        self.end_headers()
        self.wfile.write(QUEUED.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def credulous() -> Iterator[str]:
    """The address of a server that accepts every request."""
    Credulous.connections = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Credulous) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_reconnecting_clients_make_a_connection_for_each_request(credulous: str) -> None:
    answered = events_answered(run(credulous, "token", "reconnecting", SHORT))

    assert answered > SHORT.users
    assert Credulous.connections >= answered


@pytest.mark.parametrize(
    "command",
    [
        ["bench.scenario", "--scenario", "tokens", "--seconds", SECONDS, "--users", USERS, "--out", "result.json"],
        ["locust", "-f", str(FOLDER / "tokens.py"), "--headless", "-u", USERS, "-r", USERS, "-t", SECONDS],
    ],
    ids=lambda command: command[0],
)
def test_wrong_answers_break_the_scenarios_budget(command: list[str], credulous: str, tmp_path: Path) -> None:
    """Calls the scenario as a user's CI does for a running instance; this one accepts wrong tokens."""
    done = subprocess.run(
        [sys.executable, "-m", *command, "--host", credulous],
        cwd=tmp_path,
        env={**os.environ, "BENCH_TOKEN": "token"},
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1, done.stderr
    assert "budget broken: scenario.tokens.failures is " in done.stdout
    if command[0] == "bench.scenario":
        assert "budget broken: scenario.tokens.failures is " in (tmp_path / "scenario-tokens.html").read_text()


def test_service_of_another_tree_runs_its_own_code_and_migrations(tmp_path: Path) -> None:
    tree, folder = tmp_path / "tree", tmp_path / "folder"
    folder.mkdir()
    for part in ("ingest", "sql"):
        shutil.copytree(ROOT / part, tree / part)
    responses = tree / "ingest" / "http" / "responses.py"
    responses.write_text(responses.read_text() + '\nQUEUED = Response.make(200, {"status": "of the tree"})\n')
    (tree / "sql" / "sqlite" / "9999_more.sql").write_text("CREATE TABLE of_the_tree (id INTEGER);\n")

    with ServiceProcess(folder, tree=tree) as service:
        assert service.post(EVENT) == (200, b'{"status":"of the tree"}')

    with closing(sqlite3.connect(folder / "events.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM of_the_tree").fetchone() == (0,)
