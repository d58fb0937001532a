"""Rates: how many events a second a name may send, over all workers of this machine."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex

import msgspec

from ingest.clock import Monotonic
from ingest.files.atomic import replace_volatile

log = logging.getLogger("ingest.rates")

SHARE_SECONDS = 0.1
"""How late a worker learns what others took of a rate: for so long each of them may allow the whole of it."""
RETRY_SECONDS = 1.0

Taken = dict[str, int]
"""Name → events ever taken by one worker process."""


class TokenBucket:
    """A token bucket: `rate` events a second, and `burst` at once after a pause.

    As long as anything is in it a whole batch may be taken; what that is too much is waited for afterwards.
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
        """How long until there is an event's worth in it; 0.0 if there is now."""
        self._fill()
        return max(0.0, (1.0 - self._level) / self.rate)

    def limit(self, rate: float, burst: float) -> None:
        """From now on these limits count. What was taken stays taken: a larger burst is filled by the rate alone."""
        self._fill()
        self.rate, self.burst = rate, burst
        self._level = min(self._level, burst)

    def take(self, events: int) -> None:
        self._level -= events
        self.taken += events

    def debit(self, events: int) -> None:
        """Others have taken so many."""
        self._level -= events

    def _fill(self) -> None:
        now = self._monotonic()
        self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now


class Told(msgspec.Struct, frozen=True):
    """What a worker tells; `life` is one process's alone, as its successor counts from zero again."""

    life: str
    taken: Taken


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Told).decode


class SharedRateLimits:
    """Tells the other workers of this machine what was taken here, and learns what they took: each has a file."""

    def __init__(self, folder: Path, worker_index: int, buckets: Callable[[], Mapping[str, TokenBucket]]) -> None:
        self._folder = folder
        self._path = folder / f"{worker_index}.json"
        self._life = token_hex(8)
        self._buckets = buckets
        self._told: Taken = {}
        self._heard: dict[str, Told] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SHARE_SECONDS)
            try:
                self.share()
            except OSError:
                log.exception("rates are not shared between workers: each allows the whole of them")
                await asyncio.sleep(RETRY_SECONDS)

    def share(self) -> None:
        """Tell and learn once."""
        buckets = self._buckets()
        if buckets:
            self._tell({name: bucket.taken for name, bucket in buckets.items()})
            for path in self._folder.glob("*.json"):
                if path != self._path:
                    self._learn(path, buckets)

    def _tell(self, taken: Taken) -> None:
        if taken == self._told:
            return
        replace_volatile(self._path, _encode(Told(self._life, taken)))
        self._told = taken

    def _learn(self, path: Path, buckets: Mapping[str, TokenBucket]) -> None:
        try:
            now = _decode(path.read_bytes())
        except (OSError, ValueError):
            return  # of a worker that is just being replaced, or of another version, or damaged
        # Of what was taken before this worker lived, nothing is held against it.
        before = self._heard.get(path.stem, now)
        counted = before.taken if before.life == now.life else {}
        # A name without a rate is not told of for a while, and counts on from where it was.
        self._heard[path.stem] = Told(now.life, counted | now.taken)
        for name in buckets.keys() & now.taken.keys():
            buckets[name].debit(max(0, now.taken[name] - counted.get(name, 0)))
