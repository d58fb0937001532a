"""The ledger: the events that a test sent, with their answers; and its comparison with table and queue.

Each event has its own `call_id`, the key of the ledger. Each event answered 200 must be one row, and at least
one message. An event that was refused or not answered may be stored, but at most once.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from secrets import token_hex

import msgspec

Key = str
Row = tuple[int, Key]
Message = tuple[int, bytes]
"""A message's id and body."""

BODY = (
    '{"timestamp":"2025-01-31T13:45:00Z", "event_type" : "call_ended","duration":7, "call_id":"KEY",'
    '"to_number":"anonymous", "from_number":"+15551230001","cost":0.10, "big":12345678901234567890123,'
    '"note":"it\'s \\\\ \\"kept\\" \u00e9"}'
)
"""MySQL's JSON type would not keep the order, spacing and numbers of this body."""


class Ledger:
    """One load writes it; others may read it."""

    def __init__(self) -> None:
        self.ok: dict[Key, float] = {}
        """Key → send time (monotonic)."""
        self.refused: dict[Key, int] = {}
        self.unknown: set[Key] = set()
        self.unreached = 0
        """Attempts without a connection: nothing was sent."""
        self.longest_seconds = 0.0
        self._run = token_hex(4)
        self._count = 0

    def new_key(self) -> Key:
        self._count += 1
        return f"{self._run}-{self._count}@faults.example.com"

    def answered(self, key: Key, status: int, sent_at: float, seconds: float) -> None:
        self.longest_seconds = max(self.longest_seconds, seconds)
        if status == 200:
            self.ok[key] = sent_at
        else:
            self.refused[key] = status

    def unanswered(self, key: Key) -> None:
        self.unknown.add(key)


def joined(one: Ledger, other: Ledger) -> Ledger:
    """Merge the ledgers of two loads, whose keys differ."""
    both = Ledger()
    both.ok = one.ok | other.ok
    both.refused = one.refused | other.refused
    both.unknown = one.unknown | other.unknown
    both.unreached = one.unreached + other.unreached
    both.longest_seconds = max(one.longest_seconds, other.longest_seconds)
    return both


def body_of(key: Key) -> bytes:
    """Return the body of this key, which is always the same."""
    return BODY.replace("KEY", key).encode()


class Result(msgspec.Struct, frozen=True):
    """The comparison of a ledger with the table and the queue."""

    ok: int
    refused: Mapping[int, int]
    """Status → number of events."""
    unknown: int
    unknown_stored: int
    """Events of `unknown` that are in the table: stored, but their answer was lost."""
    rows_lost: int
    rows_doubled: int
    messages_lost: int
    messages_wrong: int
    """Messages without a matching row: the id or the body differs, or there is no row."""
    repeated: int
    longest_seconds: float
    reasons: Mapping[str, int] = {}
    """Reason of a response 5xx, from the service's log → number of log lines. Repeated lines are left out there."""

    @property
    def faults(self) -> dict[str, int]:
        """Broken promises of the service; empty if it kept them all."""
        names = ("rows_lost", "rows_doubled", "messages_lost", "messages_wrong")
        return {name: count for name in names if (count := getattr(self, name))}


def added(one: Result, other: Result) -> Result:
    """Add the results of two rounds."""
    return Result(
        ok=one.ok + other.ok,
        refused=Counter(one.refused) + Counter(other.refused),
        unknown=one.unknown + other.unknown,
        unknown_stored=one.unknown_stored + other.unknown_stored,
        rows_lost=one.rows_lost + other.rows_lost,
        rows_doubled=one.rows_doubled + other.rows_doubled,
        messages_lost=one.messages_lost + other.messages_lost,
        messages_wrong=one.messages_wrong + other.messages_wrong,
        repeated=one.repeated + other.repeated,
        longest_seconds=max(one.longest_seconds, other.longest_seconds),
        reasons=Counter(one.reasons) + Counter(other.reasons),
    )


def compare(ledger: Ledger, rows: Sequence[Row], messages: Iterable[Message], sent_since: float = 0.0) -> Result:
    """Compare when all events are stored and published.

    Messages of events sent before `sent_since` (monotonic) are ignored, as the test itself deleted them.
    """
    row_ids = {key: row_id for row_id, key in rows}
    copies = Counter(key for _, key in rows)
    seen: Counter[Key] = Counter()
    wrong = 0
    for message_id, body in messages:
        key = str(json.loads(body)["call_id"])
        seen[key] += 1
        wrong += row_ids.get(key) != message_id or body != body_of(key)
    return Result(
        ok=len(ledger.ok),
        refused=Counter(ledger.refused.values()),
        unknown=len(ledger.unknown),
        unknown_stored=len(ledger.unknown & row_ids.keys()),
        rows_lost=len(ledger.ok.keys() - row_ids.keys()),
        rows_doubled=sum(count > 1 for count in copies.values()),
        messages_lost=sum(sent_at >= sent_since and key not in seen for key, sent_at in ledger.ok.items()),
        messages_wrong=wrong,
        repeated=sum(seen.values()) - len(seen),
        longest_seconds=ledger.longest_seconds,
    )


def assert_unnoticed(result: Result) -> None:
    """Fail if the service broke a promise, or if a client had a request refused or not answered."""
    assert not result.faults, result
    assert not result.refused, result
    assert result.unknown == 0, result
