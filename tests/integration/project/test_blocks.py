"""Executes blocks of the documents with default settings, beside a service that a block of README.md has started."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.documents import block
from tests.running import EVENT
from tests.services import free_port, wait_until

START_SECONDS = 60.0
SECONDS = 60.0
TOKEN = "super-secret-token"


class Reader:
    """Someone who copies blocks into a shell, in one folder. `ingest` is on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"localhost:{free_port()}"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "INGEST_PORT": self.address.partition(":")[2],
        }

    def start(self, text: str) -> "subprocess.Popen[str]":
        """Start the commands, which go on until `end`."""
        text = text.replace("localhost:8000", self.address).replace("events.example.com:8000", self.address)
        return subprocess.Popen(
            ["sh", "-euc", text],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, text: str) -> str:
        process = self.start(text)
        output = process.communicate(timeout=SECONDS)[0]
        assert process.returncode == 0, output
        return output

    def stored(self, call_id: str) -> list[str]:
        with closing(sqlite3.connect(self.folder / "var" / "call-events.db")) as database:
            rows = database.execute("SELECT payload FROM call_event_logs WHERE call_id = ?", (call_id,)).fetchall()
        return [payload for (payload,) in rows]

    def is_ready(self) -> bool:
        try:
            with urlopen(f"http://{self.address}/readyz", timeout=5) as answer:
                return bool(json.load(answer)["status"] == "ready")
        except OSError:
            return False


def end(process: "subprocess.Popen[str]") -> str:
    """End the commands as Ctrl-C does; return what they printed."""
    os.killpg(process.pid, signal.SIGTERM)
    return process.communicate(timeout=SECONDS)[0]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("reader"))
    process = reader.start(block("README.md", "ingest migrate").text)
    try:
        if not wait_until(reader.is_ready, START_SECONDS):
            raise AssertionError(end(process))
        yield reader
    finally:
        if process.poll() is None:
            end(process)


def test_the_commands_for_own_servers_end_in_a_ready_service(reader: Reader) -> None:
    assert wait_until(reader.is_ready, SECONDS)


def test_the_azerbaijani_commands_store_an_event(reader: Reader) -> None:
    az = "docs/az/README.md"
    assert block(az, "ingest migrate").text == block("README.md", "ingest migrate").text  # the fixture runs them

    assert reader.run(block(az, "curl -H").text).endswith(block(az, '{"status"').text.strip())

    assert len(reader.stored("abc-123")) == 1
    assert json.loads(reader.run(block(az, "ingest tail").text).splitlines()[-1])["call_id"]


def test_a_repeated_key_stores_one_event(reader: Reader) -> None:
    text = block("docs/idempotency.md", "curl -H").text

    assert [reader.run(text).endswith('{"status":"queued"}') for _ in range(2)] == [True, True]
    assert len(reader.stored("1@pbx")) == 1


def test_a_growing_file_is_sent(reader: Reader) -> None:
    file = reader.folder / "calls.ndjson"
    file.write_text(json.dumps({**EVENT, "call_id": "grown-1"}) + "\n")
    text = block("docs/idempotency.md", "export CALL_EVENTS_TOKEN").text
    sending = reader.start(text.replace("=...", f"={TOKEN}").replace("/var/log/pbx/calls.ndjson", str(file)))
    try:
        assert wait_until(lambda: bool(reader.stored("grown-1")), SECONDS)
        with file.open("a") as growing:
            growing.write(json.dumps({**EVENT, "call_id": "grown-2"}) + "\n")
        assert wait_until(lambda: bool(reader.stored("grown-2")), SECONDS)
    finally:
        output = end(sending)
    assert "Traceback" not in output


def test_tokens_are_created_rotated_and_revoked(reader: Reader) -> None:
    output = reader.run(block("docs/tokens.md", "ingest tokens create pbx-1").text)

    assert "dialer" in output
    left = reader.run("ingest tokens list")
    assert "dialer" in left
    assert "pbx-1" not in left
    trail = reader.run(block("docs/events.md", "ingest audit").text)
    assert all(action in trail for action in ("token.create", "token.rotate", "token.revoke"))


def test_a_captured_body_becomes_an_event(reader: Reader) -> None:
    call = {"id": "captured", "caller": {"number": "100"}, "called": "200"}
    body = {"call": call, "event": "hangup", "time": "31.01.2025 13:45:00", "seconds": 42}
    (reader.folder / "newpbx.toml").write_text(block("docs/clients/forms.md", "description = ").text)
    (reader.folder / "captured-body.json").write_text(json.dumps(body))

    event = json.loads(reader.run(block("docs/clients/forms.md", "ingest clients try").text))

    assert (event["call_id"], event["event_type"], event["duration"]) == ("captured", "call_ended", 42)
    assert event["timestamp"].startswith("2025-01-31T13:45:00")
