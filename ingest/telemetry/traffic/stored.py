"""Counts stored events by type, and the durations of ended calls. A batch costs little; `show` updates the metrics."""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Protocol

import msgspec
import prometheus_client

from ingest.telemetry.histogram import BatchHistogram
from ingest.telemetry.labels import EVENT_TYPES

CALL_ENDED = "call_ended"
DURATIONS_MAX = 100
"""Durations that are read between two calls of `show`: all under a usual load, and a sample of a flood. One takes
0.4 µs."""
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
        self._durations_left = DURATIONS_MAX

    def add(self, events: Sequence[StoredEvent]) -> None:
        """Count a batch. Only bodies of some events that ended a call are read again."""
        self._types.update(map(_type_of, events))
        if self._durations_left and CALL_ENDED in self._types:
            self._read_durations([event.payload for event in events if event.event_type == CALL_ENDED])

    def _read_durations(self, ended: Sequence[bytes]) -> None:
        chosen = ended[: self._durations_left]
        self._durations_left -= len(chosen)
        self._seconds.update(duration for duration in map(_duration_in, chosen) if duration is not None)

    def show(self) -> None:
        """Update the metrics from the counts."""
        types, self._types = self._types, Counter()
        for event_type, count in types.items():
            self._series_of(event_type).inc(count)
        seconds, self._seconds = self._seconds, Counter()
        self._durations_left = DURATIONS_MAX
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
