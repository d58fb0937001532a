"""The idempotency key of an event: from the header `Idempotency-Key`, or from the event's own fields."""

from hashlib import blake2b

import msgspec

from ingest.errors import Malformed
from ingest.events.event import Event

HEADER = "idempotency-key"
KEY_CHARS_MAX = 255
DIGEST_BYTES = 16
"""A key is a digest of the given key, then a digest of the event's bytes. Each has this length."""

_RENAMED = b"renamed"
_SEPARATOR = b"\0"
"""No part of a key contains this byte."""


class _Stamped(msgspec.Struct):
    timestamp: str


_decode_stamped = msgspec.json.Decoder(_Stamped).decode


def digest_of(key: bytes) -> bytes:
    return key[:DIGEST_BYTES]


def fingerprint_of(key: bytes) -> bytes:
    """The digest of the event to which the client gave the key. Empty for a key from the event's own fields."""
    return key[DIGEST_BYTES:]


class Keys:
    """Gives events their keys. With `natural`, an event without a key in its request gets one from its own fields."""

    def __init__(self, *, natural: bool) -> None:
        self.natural = natural

    def given(self, text: str | None, name: str) -> bytes:
        """Return the key in a request's head, which is valid for the token's name alone. Raises `Malformed`."""
        if not text or not text.strip() or len(text) > KEY_CHARS_MAX:
            raise Malformed(f"Idempotency-Key must have 1 to {KEY_CHARS_MAX} ASCII characters, and not blanks alone.")
        return _SEPARATOR.join((name.encode(), text.encode()))

    def of(self, event: Event, given: bytes | None, index: int = 0, content: bytes | None = None) -> bytes | None:
        """Return the key of an event. `index` is its position in the request.

        Requests with the same key must have the same content, by default the event's own.
        """
        if given is not None:
            return _digest(given, b"%d" % index) + _digest(event.payload if content is None else content)
        if self.natural:
            timestamp = _decode_stamped(event.payload).timestamp
            return _digest(event.call_id.encode(), event.event_type.encode(), timestamp.encode())
        return None

    def of_record(self, event: Event, record: bytes) -> bytes | None:
        """Return the natural key of an event whose client sent no time, but the same record again."""
        if not self.natural:
            return None
        return _digest(event.call_id.encode(), event.event_type.encode(), _digest(record).hex().encode())


def key_of_renamed(event_id: int, created_us: int, payload: bytes) -> bytes:
    """The key of an event that gets another id. If the event comes to the database twice, the key keeps it one row."""
    return _digest(_RENAMED, b"%d" % event_id, b"%d" % created_us, payload) + _digest(payload)


def _digest(*parts: bytes) -> bytes:
    return blake2b(_SEPARATOR.join(parts), digest_size=DIGEST_BYTES).digest()
