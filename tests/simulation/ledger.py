"""The ledger of all clients, outside of the service."""

from collections.abc import Iterable
from typing import Literal

import msgspec

Outcome = Literal["sent", "accepted", "refused"]


class Violation(Exception):
    """A promise of the service is broken."""


class Sent(msgspec.Struct):
    """An event as one or more requests carried it. An event with a key may be sent again, under the same key."""

    payload: bytes
    keyed: bool = False
    outcome: Outcome = "sent"
    """`accepted` once any of its requests was answered 200. `sent`: no answer is known."""


class Ledger:
    def __init__(self) -> None:
        self.events: dict[bytes, Sent] = {}
        self.accepted: set[bytes] = set()
        self.in_order: list[tuple[bytes, bytes]] = []
        """An event, and a later one of its call that was sent after the answer to the first."""
        self.answers_200 = 0
        """Events in answers that accepted them, also if no client was left to read the answer."""
        self.slowest_seconds = 0.0
        self.excused: set[bytes] = set()
        """Accepted events that a disk or a server has lost after it had promised to keep them."""

    def sends(self, payload: bytes, *, keyed: bool) -> None:
        self.events.setdefault(payload, Sent(payload, keyed))

    def accepts(self, payload: bytes) -> None:
        self.events[payload].outcome = "accepted"
        self.accepted.add(payload)

    def refuses(self, payload: bytes) -> None:
        event = self.events[payload]
        if event.outcome == "sent":
            event.outcome = "refused"

    def kept(self, payloads: Iterable[bytes]) -> list[bytes]:
        """Those of the payloads that were accepted, and that nobody may lose."""
        return [payload for payload in payloads if payload in self.accepted and payload not in self.excused]


def check(condition: object, text: str) -> None:
    if not condition:
        raise Violation(text)
