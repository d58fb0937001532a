"""The ledger of all clients, outside of the service."""

from collections.abc import Iterable


class Violation(Exception):
    """A promise of the service is broken."""


class Ledger:
    def __init__(self) -> None:
        self.sent: set[bytes] = set()
        """Payloads. An event with a key may be sent again, with the same payload."""
        self.accepted: set[bytes] = set()
        self.accepted_on: set[tuple[str, bytes]] = set()
        """The name of each node that has accepted an event. With a key it may be two."""
        self.in_order: list[tuple[bytes, bytes]] = []
        """An event, and a later one of its call that was sent after the answer to the first."""
        self.posted = 0
        """Events in all requests, each time that they are sent."""
        self.answers_200 = 0
        """Events in answers that accepted them, also if no client was left to read the answer."""
        self.answers_500 = 0
        """Events in answers that say that they may be stored or not."""
        self.slowest_seconds = 0.0
        self.excused: set[bytes] = set()
        """Accepted events that a disk or a server has lost after it had promised to keep them."""

    def kept(self, payloads: Iterable[bytes]) -> list[bytes]:
        """Those of the payloads that were accepted, and that nobody may lose."""
        return [payload for payload in payloads if payload in self.accepted and payload not in self.excused]


def check(condition: object, text: str, *values: object) -> None:
    """`text` has a `{}` for each value. Payloads are shown as text."""
    if not condition:
        raise Violation(text.format(*(one.decode() if isinstance(one, bytes) else one for one in values)))
