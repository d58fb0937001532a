"""`ingest top` in a terminal, and without one."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from ingest.cli.top.command import ENTER, LEAVE, SHOW
from ingest.status.snapshot import Status
from tests.commands import Ingest, one_line
from tests.running import EVENT, ServiceProcess
from tests.services import free_port, wait_until

SEEN_SECONDS = 60.0


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, *words: str) -> None:
        self._side, other = pty.openpty()
        os.set_blocking(self._side, False)
        environment = {**os.environ, "COLUMNS": "100", "LINES": "40"}
        # A background job of a shell ignores SIGINT, and so do its children. The tests may be such a job.
        argv = ["env", "--default-signal=INT", sys.executable, "-m", "ingest", *words]
        self.process = subprocess.Popen(argv, stdin=other, stdout=other, stderr=other, env=environment)
        os.close(other)
        self._text = ""

    def text(self) -> str:
        """Return all output so far."""
        try:
            while part := os.read(self._side, 65536):
                self._text += part.decode()
        except (BlockingIOError, OSError):
            pass
        return self._text

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._side)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    opened = Terminal(*words)
    try:
        yield opened
    finally:
        opened.close()


def url_of(service: ServiceProcess) -> str:
    return f"http://127.0.0.1:{service.port}"


def has_shown(screen: Terminal, times: int) -> bool:
    text = screen.text()
    return text.count("accepted") >= times and "\x1b[32mready" in text


def test_figures_are_redrawn_until_interrupted(service: ServiceProcess) -> None:
    with terminal("top", "--url", url_of(service), "--interval", "0.5") as screen:
        shown_thrice = partial(has_shown, screen, 3)
        assert wait_until(shown_thrice, SEEN_SECONDS)
        screen.process.send_signal(signal.SIGINT)
        assert screen.process.wait(SEEN_SECONDS) == 0

        text = screen.text()
    assert text.startswith(ENTER)
    assert text.endswith(SHOW + LEAVE)


def test_screen_shows_that_the_service_is_down_and_recovers(embedded_service: ServiceProcess) -> None:
    with terminal("top", "--url", url_of(embedded_service), "--interval", "0.5") as screen:
        assert wait_until(lambda: "ready" in screen.text(), SEEN_SECONDS)
        embedded_service.stop()
        assert wait_until(lambda: "Connection refused" in screen.text(), SEEN_SECONDS)
        embedded_service.start()
        embedded_service.wait_for_status("ready")

        told = screen.text().rindex("Connection refused")
        assert wait_until(lambda: "ready" in screen.text()[told:], SEEN_SECONDS)


def test_without_a_terminal_one_snapshot_is_printed(ingest: Ingest, service: ServiceProcess) -> None:
    assert service.post(EVENT)[0] == 200

    ran = ingest("top", "--url", url_of(service))

    assert ran.returncode == 0
    assert "\x1b" not in ran.stdout
    assert "database  ok\nbroker    ok\n" in ran.stdout


def test_json_is_the_status_of_the_service(ingest: Ingest, service: ServiceProcess) -> None:
    told = ingest("top", "--json", "--url", url_of(service)).stdout

    assert msgspec.convert(json.loads(told), Status).status == "ready"


def test_missing_service_is_explained_in_one_line(ingest: Ingest) -> None:
    port = free_port()

    line = one_line(ingest("top", "--once", "--url", f"http://127.0.0.1:{port}"))

    assert f"http://127.0.0.1:{port}/status.json" in line
    assert "refused" in line
    assert "INGEST_ADMIN_PORT" in line


def test_wrong_url_is_reported(ingest: Ingest) -> None:
    assert "--url 'localhost:8000'" in one_line(ingest("top", "--url", "localhost:8000"))


def test_other_server_is_reported(ingest: Ingest, service: ServiceProcess) -> None:
    assert "404" in one_line(ingest("top", "--url", url_of(service) + "/elsewhere"))
