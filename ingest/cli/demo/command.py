"""The command `ingest demo`."""

import sys
import time
from datetime import UTC, datetime
from random import Random

import click

from ingest.auth.tokens import split
from ingest.cli.demo.pbx import Pbx
from ingest.cli.demo.player import Player
from ingest.cli.options import DURATION, Duration, with_settings
from ingest.cli.send.service import Service
from ingest.cli.send.waiting import Contact, UntilSignal
from ingest.cli.shell.output import say, show, warn
from ingest.cli.shell.service_url import URL_HELP, client_certificate, events_target
from ingest.server.listeners.urls import urls_of
from ingest.settings import WELL_KNOWN_TOKEN, Settings

EXTENSIONS_PER_RATE = 10
"""Extensions of the PBX for each event a second. At this number a few are always idle."""
LINE_SECONDS = {True: 1.0, False: 10.0}
"""Interval between two lines of progress on a terminal, and elsewhere."""


@click.command()
@click.option("--url", help=URL_HELP)
@click.option("--token", envvar="CALL_EVENTS_TOKEN", help="Better set the variable CALL_EVENTS_TOKEN.")
@client_certificate
@click.option("--rate", type=click.IntRange(1, 200), default=20, show_default=True, help="Most events a second.")
@click.option("--duration", type=DURATION, default="10m", show_default=True, help="Time to play, such as 90s or 2h.")
@with_settings
def demo(
    settings: Settings, url: str | None, token: str | None, client_cert: str | None, rate: int, duration: Duration
) -> None:
    """Play the calls of a small PBX, so that the pages, `ingest top` and `ingest tail` show something.

    Phones ring and are answered, missed or hung up, after realistic times. The service stores and publishes these
    events like real ones. The command ends after --duration or with Ctrl-C. It is no load test.
    """
    waiting = UntilSignal()
    waiting.listen()
    service = Service(events_target(url, client_cert), token or _token(settings, url))
    pbx = Pbx(rate * EXTENSIONS_PER_RATE, Random())  # noqa: S311 - calls, not secrets
    contact = Contact(service.url, warn)
    player = Player(pbx, service, rate, waiting, contact, time.monotonic, lambda: datetime.now(UTC))
    pages = url.rstrip("/") if url else urls_of(settings).pages
    warn(f"Playing calls at {rate} events a second for {duration.text}; Ctrl-C ends. Watch them at {pages}/")
    progress = Progress(player, sys.stderr.isatty())
    try:
        seconds = player.play(duration.seconds, progress.tell)
    finally:
        progress.clear()
        service.close()
    say(player.summary(seconds))


class Progress:
    """Tells the counts now and then: in one line of a terminal, which changes, or in a line of its own."""

    def __init__(self, player: Player, is_terminal: bool) -> None:
        self._player = player
        self._is_terminal = is_terminal
        self._next_seconds = LINE_SECONDS[is_terminal]

    def tell(self, seconds: float) -> None:
        if seconds < self._next_seconds:
            return
        self._next_seconds = seconds + LINE_SECONDS[self._is_terminal]
        text = self._player.summary(seconds)
        (show if self._is_terminal else warn)(text)

    def clear(self) -> None:
        if self._is_terminal:
            show("")


def _token(settings: Settings, url: str | None) -> str:
    """Return this service's own token if its settings have it in plain text. Another service never gets it."""
    plain, _ = split(settings.api_tokens)
    return plain[0] if plain and not url else WELL_KNOWN_TOKEN
