"""Waits end with a signal, and pauses grow up to their limit."""

import os
import signal
from collections.abc import Iterator

import pytest

from ingest.cli.send.waiting import ASKED_SECONDS_MAX, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN, Contact, UntilSignal

HANDLED = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def waiting() -> Iterator[UntilSignal]:
    earlier = {number: signal.getsignal(number) for number in HANDLED}
    waits = UntilSignal()
    waits.listen()
    yield waits
    for number, handler in earlier.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", HANDLED)
def test_signal_ends_a_wait_and_the_next_one_has_no_handler(waiting: UntilSignal, number: signal.Signals) -> None:
    assert not waiting.is_stopped
    os.kill(os.getpid(), number)

    waiting.pause(3600)

    assert waiting.is_stopped
    assert signal.getsignal(number) is signal.SIG_DFL


def test_outage_is_told_once_and_its_pauses_grow_to_the_limit() -> None:
    said: list[str] = []
    contact = Contact("http://service", said.append)

    pauses = [contact.lose("no answer") for _ in range(100)]
    contact.restore()
    contact.restore()

    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX)
    assert [text.split()[0] for text in said] == ["http://service:", "The"]
    assert contact.lose("no answer") == PAUSE_SECONDS_MIN


@pytest.mark.parametrize(("asked", "seconds"), [(60.0, 60.0), (1e9, ASKED_SECONDS_MAX), (0.1, PAUSE_SECONDS_MIN)])
def test_pause_that_the_service_asks_for_is_kept_within_a_limit(asked: float, seconds: float) -> None:
    assert Contact("http://service", lambda _: None).lose("too many", asked) == seconds
