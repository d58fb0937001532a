"""Commands in a shell: a pipe that closes, Ctrl-C, an env file, and values that would control the terminal."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.broker.embedded import FILE_NAME, EmbeddedQueue, Message
from tests.commands import Ingest, told
from tests.many_commands import Run, run_commands

SECONDS = 60.0
HOSTILE = "a\x1b[2J\x9b31m\x7f\u202eb\u2028c\x00\ud800"
RAW = HOSTILE.replace("\ud800", "")  # only an escape can write a surrogate
CALL = {"call_id": HOSTILE, "from_number": "1", "to_number": "2", "event_type": HOSTILE}
EVENT = {**CALL, "timestamp": "2026-11-29T12:00:00Z"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose queue has messages of a hostile client."""
    queue = EmbeddedQueue(tmp_path / "var" / FILE_NAME, 5.0)
    bodies = [
        json.dumps(EVENT),
        json.dumps({**EVENT, "call_id": RAW, "event_type": RAW}, ensure_ascii=False, indent="\t"),
    ]
    queue.publish([Message(number, "type", 0, body.encode()) for number, body in enumerate(bodies * 5, 1)], 100)
    queue.close()
    return tmp_path


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    # A background job of a shell ignores SIGINT, and so do its children.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "ingest", *words]
    return subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_values_of_clients_are_shown_without_control_characters(folder: Path) -> None:
    (folder / "event.json").write_text(json.dumps(EVENT))
    runs = [
        Run(["tail", "--limit", "4", "--properties"]),
        Run(["clients", "try", "plain", "event.json"]),
        Run(["top", "--url", f"http://{RAW}"]),
        Run(["migrate"]),
        Run(["tokens", "revoke", RAW]),
    ]

    done = run_commands(folder, runs)

    for one in done:
        assert all(line.isprintable() for line in (one.stdout + one.stderr).splitlines()), one
    printed = [json.loads(line)["body"] for line in done[0].stdout.splitlines()]
    assert printed[0] == EVENT
    assert [one["event_type"] for one in printed] == [HOSTILE, RAW] * 2


def test_closed_pipe_ends_a_command_without_a_word(folder: Path) -> None:
    command = f"{sys.executable} -m ingest tail --timeout 5 | head -n 1"

    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)

    assert len(done.stdout.splitlines()) == 1
    assert told(done.stderr) == ""


def test_interrupted_command_says_so_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(SECONDS)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = start(folder, "check", "--url", url, "--token", "of-nobody")
        service, _ = silent.accept()
        with service:
            service.settimeout(SECONDS)
            assert service.recv(1)  # it waits for the answer

            os.kill(process.pid, signal.SIGINT)

            _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (130, "ingest: stopped by Ctrl-C.\n")


def test_env_file_has_the_settings_and_the_environment_wins(ingest: Ingest, tmp_path: Path) -> None:
    (tmp_path / "service.env").write_text("# the service\nINGEST_PORT=8100\nINGEST_QUEUE='two words'\n")

    ran = ingest("--env-file", "service.env", "config", PORT="8200")

    assert "INGEST_PORT=8200\n" in ran.stdout
    assert "INGEST_QUEUE=two words\n" in ran.stdout
    assert ran.stderr == "INGEST_PORT: the environment has another value than service.env, and wins.\n"
