"""What tells a repeat: an event's key, from the client's `Idempotency-Key` or from what the event says of itself."""

from hashlib import blake2b

import msgspec

from ingest.errors import Malformed
from ingest.events.event import Event

HEADER = "idempotency-key"
KEY_CHARS_MAX = 255
DIGEST_BYTES = 16
"""A key is a digest of what was given as such, then one of the event's bytes, both so long."""

_RENAMED = b"renamed"
_SEPARATOR = b"\0"
"""Stands in none of the parts of a key."""


class _Stamped(msgspec.Struct):
    timestamp: str


_decode_stamped = msgspec.json.Decoder(_Stamped).decode


def digest_of(key: bytes) -> bytes:
    return key[:DIGEST_BYTES]


def fingerprint_of(key: bytes) -> bytes:
    """Of the event that the key was given to; keys that events make themselves have none."""
    return key[DIGEST_BYTES:]


class Keys:
    """Gives events their keys. `natural`: those without one in their request's head get one of their own, too."""

    def __init__(self, *, natural: bool) -> None:
        self.natural = natural

    def given(self, text: str | None, name: str) -> bytes:
        """The key in a request's head, as one of the token's name alone. Raises `Malformed`, also if it is no text."""
        if not text or not text.strip() or len(text) > KEY_CHARS_MAX:
            raise Malformed(f"Idempotency-Key must have 1 to {KEY_CHARS_MAX} ASCII characters, and not blanks alone.")
        return _SEPARATOR.join((name.encode(), text.encode()))

    def of(self, event: Event, given: bytes | None, index: int = 0) -> bytes | None:
        """The key of an event, which is the request's `index`th."""
        if given is not None:
            return _digest(given, b"%d" % index) + _digest(event.payload)
        if self.natural:
            timestamp = _decode_stamped(event.payload).timestamp
            return _digest(event.call_id.encode(), event.event_type.encode(), timestamp.encode())
        return None


def key_of_renamed(event_id: int, created_us: int, payload: bytes) -> bytes:
    """The key of an event that gets another id: brought to the database twice all the same, it is one row."""
    return _digest(_RENAMED, b"%d" % event_id, b"%d" % created_us, payload) + _digest(payload)


def _digest(*parts: bytes) -> bytes:
    return blake2b(_SEPARATOR.join(parts), digest_size=DIGEST_BYTES).digest()
