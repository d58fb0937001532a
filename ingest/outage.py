"""Says that publishing fails: once an outage, then a summary a minute, then that it is over."""

import logging

from ingest.clock import Monotonic

log = logging.getLogger("ingest.publish")

SUMMARY_SECONDS = 60.0


class Outage:
    """Counts events left to the relay since the outage began; one a worker, shared by its routes."""

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._since: float | None = None
        self._said = 0.0
        self._events = 0

    def left_to_relay(self, events: int, reason: str) -> None:
        now = self._monotonic()
        self._events += events
        if self._since is None:
            self._since = self._said = now
            log.warning(
                "RabbitMQ publish failed",
                extra={"reason": reason, "kept": "events stay in the outbox and are published when it is back"},
            )
        elif now - self._said >= SUMMARY_SECONDS:
            self._said = now
            log.warning(
                "RabbitMQ publish still fails",
                extra={"reason": reason, "seconds": round(now - self._since), "events": self._events},
            )

    def over(self) -> None:
        """A batch was confirmed."""
        if self._since is not None:
            seconds = round(self._monotonic() - self._since, 1)
            log.warning("RabbitMQ publish works again", extra={"seconds": seconds, "events": self._events})
            self._since, self._events = None, 0
