"""Counts accepted events by the form of the client that posted them."""

from collections import Counter
from collections.abc import Iterable

import prometheus_client

from ingest.telemetry.labels import API


class Callers:
    """`of_sources` counts the events of telephony servers by form, as they are answered. All others came to the API."""

    def __init__(self, by_client: prometheus_client.Counter) -> None:
        self.of_sources: Counter[str] = Counter()
        self._by_client = by_client
        self._shown: Counter[str] = Counter()
        by_client.labels(API)

    def begin(self, sources: Iterable[str]) -> None:
        """Create the series of each form."""
        for source in sources:
            self._by_client.labels(source)

    def show(self, accepted: int) -> None:
        """Update the metric. `accepted` is the number of events so far, of all clients."""
        counts = Counter(self.of_sources)
        counts[API] += accepted - self.of_sources.total()
        for client, count in (counts - self._shown).items():
            self._by_client.labels(client).inc(count)
        self._shown = counts
