"""Makes up the calls of a small PBX: who calls whom, and when a phone rings, is answered and is hung up."""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

from ingest.events.call_event import CALL_ENDED

CALL_ANSWERED = "call_answered"
FIRST_EXTENSION = 1000
AREAS = (201, 212, 303, 415, 617)
"""Numbers 555-0100 to 555-0199 of each area belong to nobody."""
ANSWERED, MISSED, HUNG_UP = "answered", "missed", "hung up"
OUTCOMES, SHARES = (ANSWERED, MISSED, HUNG_UP), (70, 20, 10)
DIRECTIONS, DIRECTION_SHARES = ("inbound", "outbound", "internal"), (60, 25, 15)
RING_SECONDS = {ANSWERED: (2.0, 6.0), MISSED: (12.0, 18.0), HUNG_UP: (2.0, 8.0)}
CAUSES = {ANSWERED: "normal_clearing", MISSED: "no_answer", HUNG_UP: "originator_cancel"}
TALK_SECONDS_MIN, TALK_SECONDS_MORE, TALK_SECONDS_MAX = 3.0, 12.0, 120.0
"""A call lasts the first, and on average the second longer, but no longer than the third."""


class Call(NamedTuple):
    call_id: str
    from_number: str
    to_number: str
    direction: str
    extensions: Sequence[int]
    """Busy until the call ends."""


class Step(NamedTuple):
    """An event of a call, and the seconds to wait for it after the one before. `outcome` is set in a call's last."""

    after_seconds: float
    fields: dict[str, Any]
    outcome: str = ""


class Pbx:
    """Its clock is the caller's. The same `random` gives the same calls at the same times."""

    def __init__(self, extensions: int, random: Random) -> None:
        self._idle = list(range(FIRST_EXTENSION, FIRST_EXTENSION + extensions))
        self._random = random
        self._due: list[tuple[float, int, Call, Step, Iterator[Step]]] = []
        self._number = 0
        self.answered = 0
        """Calls that were answered, and perhaps ended since."""
        self.outcomes: Counter[str] = Counter()
        """Calls that ended."""

    @property
    def calls(self) -> int:
        """Calls that began."""
        return self._number

    @property
    def active(self) -> int:
        return len(self._due)

    def next_event(self, seconds: float, now: datetime) -> dict[str, Any] | None:
        """Return the event that is due, or the begin of a new call. None if every extension is busy.

        `seconds` is the time by any clock, and `now` becomes the event's timestamp.
        """
        if self._due and self._due[0][0] <= seconds:
            _, _, call, step, rest = heapq.heappop(self._due)
        elif len(self._idle) >= 2:
            call = self._new_call()
            rest = self._steps()
            step = next(rest)
        else:
            return None
        self.answered += step.fields["event_type"] == CALL_ANSWERED
        if following := next(rest, None):
            heapq.heappush(self._due, (seconds + following.after_seconds, self._number, call, following, rest))
        else:
            self._idle += call.extensions
            self.outcomes[step.outcome] += 1
        return _event(call, step, now)

    def _new_call(self) -> Call:
        self._number += 1
        (direction,) = self._random.choices(DIRECTIONS, DIRECTION_SHARES)
        taken = [self._take() for _ in range(2 if direction == "internal" else 1)]
        own, other = str(taken[0]), str(taken[1]) if taken[1:] else self._outside()
        numbers = (other, own) if direction == "inbound" else (own, other)
        return Call(f"{self._random.getrandbits(64):016x}@demo-pbx.invalid", *numbers, direction, taken)

    def _take(self) -> int:
        return self._idle.pop(self._random.randrange(len(self._idle)))

    def _outside(self) -> str:
        return f"+1{self._random.choice(AREAS)}55501{self._random.randrange(100):02}"

    def _steps(self) -> Iterator[Step]:
        (outcome,) = self._random.choices(OUTCOMES, SHARES)
        ring, talk = self._random.uniform(*RING_SECONDS[outcome]), 0.0
        yield Step(0.0, {"event_type": "call_started"})
        if outcome == ANSWERED:
            yield Step(ring, {"event_type": CALL_ANSWERED})
            more = self._random.expovariate(1 / TALK_SECONDS_MORE)
            ring, talk = 0.0, min(TALK_SECONDS_MIN + more, TALK_SECONDS_MAX)
        ended = {"event_type": CALL_ENDED, "duration": round(talk), "hangup_cause": CAUSES[outcome]}
        yield Step(ring + talk, ended, outcome)


def _event(call: Call, step: Step, now: datetime) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "from_number": call.from_number,
        "to_number": call.to_number,
        "timestamp": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "direction": call.direction,
        **step.fields,
    }
