"""`ingest demo` with the real service, in an empty folder as a new user has it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Ingest, one_line
from tests.running import ServiceProcess
from tests.services import free_port, wait_until

SEEN_SECONDS = 60.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Embedded mode, which makes its tables itself, with its default token."""
    running = ServiceProcess(tmp_path_factory.mktemp("demo"), {"API_TOKENS": ""})
    running.start()
    running.wait_for_status("ready")
    yield running
    running.stop()


def test_demo_ends_after_its_duration_with_counts(ingest: Ingest, service: ServiceProcess) -> None:
    ran = ingest("demo", "--duration", "2s", PORT=str(service.port))

    assert (ran.returncode, ran.stdout.count("\n")) == (0, 1)
    assert re.search(r" events accepted in \d+ s", ran.stdout)
    assert "0 refusals" in ran.stdout
    assert f"http://localhost:{service.port}/" in ran.stderr
    assert '"event_type": "call_started"' in service.command("tail", "--limit", "1").stdout


def test_demo_ends_cleanly_at_ctrl_c(service: ServiceProcess, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{service.port}"
    # A background job of a shell ignores SIGINT, and so do its children. The tests may be such a job.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "ingest", "demo", "--url", url]
    output, messages = tmp_path / "output", tmp_path / "messages"
    with output.open("wb") as out, messages.open("wb") as err:
        playing = subprocess.Popen(argv, stdout=out, stderr=err, cwd=tmp_path, env=dict(os.environ))
    try:
        assert wait_until(lambda: "Ctrl-C ends" in messages.read_text(), SEEN_SECONDS)
        playing.send_signal(signal.SIGINT)
        assert playing.wait(SEEN_SECONDS) == 0
    finally:
        playing.kill()

    assert " events accepted in " in output.read_text()
    assert messages.read_text().count("\n") == 1


@pytest.mark.parametrize("command", ["--url", "PORT"])
def test_wrong_token_is_refused_with_words(ingest: Ingest, service: ServiceProcess, command: str) -> None:
    by_url = command == "--url"
    words = ["--url", f"http://127.0.0.1:{service.port}"] if by_url else []
    ran = ingest("demo", "--token", "wrong", *words, **({} if by_url else {"PORT": str(service.port)}))

    assert ran.returncode == 1
    assert "does not know the token" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_configured_token_goes_to_the_local_service_only(ingest: Ingest, service: ServiceProcess) -> None:
    local = ingest("demo", "--duration", "1s", PORT=str(service.port), API_TOKENS="own")
    other = ingest("demo", "--duration", "1s", "--url", f"http://127.0.0.1:{service.port}", API_TOKENS="own")

    assert (local.returncode, other.returncode) == (1, 0)  # this service knows only the well-known token


def test_missing_service_is_explained(ingest: Ingest) -> None:
    ran = ingest("demo", PORT=str(free_port()))

    assert ran.returncode == 1
    assert "Connection refused. Start the service first" in ran.stderr


def test_wrong_url_is_reported(ingest: Ingest) -> None:
    assert "is not of the form http://host:port" in one_line(ingest("demo", "--url", "localhost"))
