"""Counts stored events by type, and the durations of ended calls. A batch costs little; `show` updates the metrics."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import Protocol

import msgspec
import prometheus_client

from ingest.telemetry.histogram import BatchHistogram
from ingest.telemetry.labels import EVENT_TYPES

CALL_ENDED = "call_ended"
DURATIONS_MAX = 4
"""Durations that are read in a batch: all of a small one, and a sample of a large one. Reading one takes 0.4 µs."""
TYPES_MAX = 50
"""Types beside the usual ones that have a series of their own. Clients may invent types."""
OTHER = "other"
"""The series of all further types."""


class StoredEvent(Protocol):
    event_type: str
    payload: bytes


class _Ended(msgspec.Struct, gc=False):
    duration: int | str | None = None


_type_of = attrgetter("event_type")
_decode = msgspec.json.Decoder(_Ended).decode


class StoredEvents:
    """The counts since the last `show`, and the types that have a series."""

    def __init__(self, by_type: prometheus_client.Counter, durations: BatchHistogram) -> None:
        self._durations = durations
        self._by_type = by_type
        self._series = {event_type: by_type.labels(event_type) for event_type in (*EVENT_TYPES, OTHER)}
        self._types: Counter[str] = Counter()
        self._seconds: Counter[float] = Counter()

    def add(self, events: Sequence[StoredEvent]) -> None:
        """Count a batch. Only bodies of some events that ended a call are read again."""
        self._types.update(map(_type_of, events))
        if CALL_ENDED in self._types:
            ended = (event for event in events if event.event_type == CALL_ENDED)
            for event in islice(ended, DURATIONS_MAX):
                if (duration := _duration_in(event.payload)) is not None:
                    self._seconds[duration] += 1

    def show(self) -> None:
        """Update the metrics from the counts."""
        types, self._types = self._types, Counter()
        for event_type, count in types.items():
            self._series_of(event_type).inc(count)
        seconds, self._seconds = self._seconds, Counter()
        if seconds:
            self._durations.observe_counts(seconds)

    def _series_of(self, event_type: str) -> prometheus_client.Counter:
        series = self._series.get(event_type)
        if series is None and len(self._series) <= len(EVENT_TYPES) + TYPES_MAX:
            series = self._series[event_type] = self._by_type.labels(event_type)
        return series or self._series[OTHER]


def _duration_in(payload: bytes) -> float | None:
    """Seconds; None if the event has none, or not as a number. Some clients send digits in a string."""
    try:
        return float(_decode(payload).duration)  # type: ignore[arg-type]  # TypeError for None
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return None
