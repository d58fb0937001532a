"""Limits the events per second of each client, across all workers of this machine."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex

import msgspec

from ingest.clock import Monotonic
from ingest.files.atomic import replace_volatile
from ingest.ticks import pause

log = logging.getLogger("ingest.rates")

SHARE_SECONDS = 0.1
"""Workers exchange their counts this often. Until then each worker may allow the full rate."""
UNLIMITED_SECONDS = 0.5
"""The interval while no client has a limit, so that there is nothing to exchange."""
RETRY_SECONDS = 1.0

Taken = dict[str, int]
"""Client name → all events that one worker process has taken."""


class TokenBucket:
    """A token bucket: `rate` events per second, and `burst` events at once after a pause.

    A batch may overdraw a bucket that has at least one event left. Later events wait until the bucket is filled again.
    """

    __slots__ = ("_at", "_level", "_monotonic", "burst", "rate", "taken")

    def __init__(self, rate: float, burst: float, monotonic: Monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self.taken = 0
        self._monotonic = monotonic
        self._level = float(burst)
        self._at = monotonic()

    def wait_seconds(self) -> float:
        """The time until one event may be taken; 0.0 if it may be taken now."""
        self._fill()
        return max(0.0, (1.0 - self._level) / self.rate)

    def limit(self, rate: float, burst: float) -> None:
        """Change the limits without a refill. Only the rate fills a larger burst."""
        self._fill()
        self.rate, self.burst = rate, burst
        self._level = min(self._level, burst)

    def take(self, events: int) -> None:
        self._level -= events
        self.taken += events

    def debit(self, events: int) -> None:
        """Subtract events that other workers have taken."""
        self._level -= events

    def _fill(self) -> None:
        now = self._monotonic()
        self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now


class Published(msgspec.Struct, frozen=True):
    """The counts that a worker publishes. `life` is unique to a process, because its successor counts from zero."""

    life: str
    taken: Taken


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Published).decode


class SharedRateLimits:
    """Exchanges counts with the other workers of this machine. Each worker writes one file."""

    def __init__(self, folder: Path, worker_index: int, buckets: Callable[[], Mapping[str, TokenBucket]]) -> None:
        self._folder = folder
        self._path = folder / f"{worker_index}.json"
        self._life = token_hex(8)
        self._buckets = buckets
        self._published: Taken = {}
        self._received: dict[str, Published] = {}

    async def run(self) -> None:
        while True:
            await pause(SHARE_SECONDS if self._buckets() else UNLIMITED_SECONDS)
            try:
                self.share()
            except OSError:
                log.exception("cannot share rate limits between workers; each worker allows the full rate")
                await asyncio.sleep(RETRY_SECONDS)

    def share(self) -> None:
        """Publish and receive once."""
        buckets = self._buckets()
        if buckets:
            self._publish({name: bucket.taken for name, bucket in buckets.items()})
            for path in self._folder.glob("*.json"):
                if path != self._path:
                    self._receive(path, buckets)

    def _publish(self, taken: Taken) -> None:
        if taken == self._published:
            return
        replace_volatile(self._path, _encode(Published(self._life, taken)))
        self._published = taken

    def _receive(self, path: Path, buckets: Mapping[str, TokenBucket]) -> None:
        try:
            now = _decode(path.read_bytes())
        except (OSError, ValueError):
            return  # the worker is being replaced or has another version, or the file is damaged
        # Events that were taken before this worker started are not subtracted.
        before = self._received.get(path.stem, now)
        counted = before.taken if before.life == now.life else {}
        # A client whose limit is removed for a while is missing in the file. Its count then continues.
        self._received[path.stem] = Published(now.life, counted | now.taken)
        for name in buckets.keys() & now.taken.keys():
            buckets[name].debit(max(0, now.taken[name] - counted.get(name, 0)))
