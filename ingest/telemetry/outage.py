"""Says that a server is away: once an outage, then a summary a minute, then that it is over."""

import asyncio
import logging
from typing import Protocol

import msgspec

from ingest.clock import Monotonic

log = logging.getLogger("ingest.outage")

SUMMARY_SECONDS = 60.0


class Messages(msgspec.Struct, frozen=True):
    """`what` fails, such as "RabbitMQ publish", and what is `kept` all the same."""

    what: str
    kept: str


PUBLISH = Messages("RabbitMQ publish", "events stay in the outbox and are published when it is back")
COMMIT = Messages("MySQL commit", "events are kept in the spool and brought to MySQL when it is back")
COMMIT_UNSPOOLED = Messages("database commit", "nothing, without a spool: clients are told to send their events again")


class Level(Protocol):
    """A gauge."""

    def set(self, value: float) -> None: ...


class Outage:
    """Counts the events it concerns since it began; one a worker and server, shared by all who see it."""

    def __init__(self, words: Messages, monotonic: Monotonic, level: Level | None = None) -> None:
        """`level` is set to 1 while it lasts, else 0."""
        self.active = asyncio.Event()
        """Set as long as it does, for who waits for its beginning."""
        self._words = words
        self._level = level
        self._monotonic = monotonic
        self._since: float | None = None
        self._said = 0.0
        self._events = 0
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """The newest, while the outage lasts."""
        return self._reason

    def record(self, events: int, reason: str) -> None:
        """It lasts, or begins now; so many events more are kept in another place."""
        now = self._monotonic()
        self._events += events
        self._reason = reason
        if self._since is None:
            self._since = self._said = now
            self.active.set()
            self._show(1)
            log.warning(f"{self._words.what} failed", extra={"reason": reason, "kept": self._words.kept})
        elif now - self._said >= SUMMARY_SECONDS:
            self._said = now
            log.warning(
                f"{self._words.what} still fails",
                extra={"reason": reason, "seconds": round(now - self._since), "events": self._events},
            )

    def recovered(self) -> None:
        """It worked again."""
        if self._since is not None:
            seconds = round(self._monotonic() - self._since, 1)
            log.warning(f"{self._words.what} works again", extra={"seconds": seconds, "events": self._events})
            self._since, self._events, self._reason = None, 0, None
            self.active.clear()
            self._show(0)

    def _show(self, level: int) -> None:
        if self._level:
            self._level.set(level)
