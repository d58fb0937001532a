"""Says that a server is away: once an outage, then a summary a minute, then that it is over."""

import asyncio
import logging

import msgspec

from ingest.clock import Monotonic

log = logging.getLogger("ingest.outage")

SUMMARY_SECONDS = 60.0


class Words(msgspec.Struct, frozen=True):
    """`what` fails, such as "RabbitMQ publish", and what is `kept` all the same."""

    what: str
    kept: str


PUBLISH = Words("RabbitMQ publish", "events stay in the outbox and are published when it is back")
COMMIT = Words("MySQL commit", "events are kept in the spool and brought to MySQL when it is back")


class Outage:
    """Counts the events it concerns since it began; one a worker and server, shared by all who see it."""

    def __init__(self, words: Words, monotonic: Monotonic) -> None:
        self.lasts = asyncio.Event()
        """Set as long as it does, for who waits for its beginning."""
        self._words = words
        self._monotonic = monotonic
        self._since: float | None = None
        self._said = 0.0
        self._events = 0
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """The newest, while the outage lasts."""
        return self._reason

    def concerns(self, events: int, reason: str) -> None:
        """It lasts, or begins now; so many events more are kept in another place."""
        now = self._monotonic()
        self._events += events
        self._reason = reason
        if self._since is None:
            self._since = self._said = now
            self.lasts.set()
            log.warning(f"{self._words.what} failed", extra={"reason": reason, "kept": self._words.kept})
        elif now - self._said >= SUMMARY_SECONDS:
            self._said = now
            log.warning(
                f"{self._words.what} still fails",
                extra={"reason": reason, "seconds": round(now - self._since), "events": self._events},
            )

    def over(self) -> None:
        """It worked again."""
        if self._since is not None:
            seconds = round(self._monotonic() - self._since, 1)
            log.warning(f"{self._words.what} works again", extra={"seconds": seconds, "events": self._events})
            self._since, self._events, self._reason = None, 0, None
            self.lasts.clear()
