"""The command `ingest top`: shows `/status.json` of a running service in a terminal."""

import shutil
import sys
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import TextIO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import click
import msgspec

from ingest.cli.shell.output import json_line, say
from ingest.cli.shell.parameters import seconds
from ingest.cli.shell.service_url import PAGES_HELP, Target, client_certificate, explained, pages_target, parts_of
from ingest.cli.top.screen import colored, cut, plain, screen
from ingest.errors import IngestError
from ingest.status.snapshot import Status

ANSWER_SECONDS = 5.0
PRINTED_WIDTH = 110
HOME_AND_HIDE, SHOW = "\x1b[H\x1b[?25l", "\x1b[?25h"
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
"""The alternate screen: the terminal shows its earlier content again afterwards."""
END_OF_LINE, END_OF_SCREEN = "\x1b[K", "\x1b[J"


@click.command()
@click.option("--url", help=PAGES_HELP)
@client_certificate
@click.option(
    "--interval", type=seconds(least=0.5), default=2.0, show_default=True, help="Seconds between two updates."
)
@click.option("--once", is_flag=True, help="Print one snapshot and exit (default if the output is not a terminal).")
@click.option("--json", "as_json", is_flag=True, help="Print the service's /status.json and exit.")
def top(url: str | None, client_cert: str | None, interval: float, once: bool, as_json: bool) -> None:
    """Watch a running service until Ctrl-C: rate, latency, backlog, health and last errors of all its workers."""
    service = StatusClient(pages_target(url, client_cert))
    if as_json:
        say(json_line(service.fetch().decode(errors="replace")))
    elif once or not sys.stdout.isatty():
        for line in screen(service.status(), plain, PRINTED_WIDTH):
            say(line)
    else:
        watch(service, interval, sys.stdout, time.sleep)


class StatusUnavailable(IngestError):
    """The service does not answer with its status."""

    code = "status"


class StatusClient:
    def __init__(self, target: Target) -> None:
        """`target`: the service's admin address, if it has one. Raises `SettingsError`."""
        parts_of(target.url)
        self._url = target.url.rstrip("/") + "/status.json"
        # without a proxy, like `ingest send`
        self._open = build_opener(ProxyHandler({}), HTTPSHandler(context=target.tls)).open

    def fetch(self) -> bytes:
        """Return the JSON as received. Raises `StatusUnavailable`."""
        try:
            with self._open(self._url, timeout=ANSWER_SECONDS) as response:
                body: bytes = response.read()
                return body
        except (URLError, HTTPException, OSError) as exc:
            cause = exc.reason if isinstance(exc, URLError) and not isinstance(exc, HTTPError) else exc
            reason = explained(cause) if isinstance(cause, Exception) else cause
            raise StatusUnavailable(
                f"{self._url}: {reason}. Does the service run there? With INGEST_ADMIN_PORT its pages are on that port."
            ) from exc

    def status(self) -> Status:
        """Raises `StatusUnavailable`."""
        try:
            return msgspec.json.decode(self.fetch(), type=Status)
        except msgspec.MsgspecError as exc:
            raise StatusUnavailable(f"{self._url} is not the status of this version: {exc}.") from exc


def watch(service: StatusClient, interval_seconds: float, output: TextIO, sleep: Callable[[float], None]) -> None:
    """Draw until interrupted. The first request must succeed; later failures are shown, and the loop retries."""
    frame = list(screen(service.status(), colored, _width()))
    try:
        output.write(ENTER)
        while True:
            lines = (line + END_OF_LINE for line in frame[: shutil.get_terminal_size().lines])
            output.write(HOME_AND_HIDE + "\r\n".join(lines) + END_OF_SCREEN)
            output.flush()
            sleep(interval_seconds)
            try:
                frame = list(screen(service.status(), colored, _width()))
            except StatusUnavailable as exc:
                frame = [colored("bad", cut(str(exc), _width())), *frame[1:]]
    except KeyboardInterrupt:
        pass
    finally:
        output.write(SHOW + LEAVE)
        output.flush()


def _width() -> int:
    return shutil.get_terminal_size().columns
