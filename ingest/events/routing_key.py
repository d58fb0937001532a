"""Routing keys: a template with values of the event, such as `{event_type}.{token}`. Pure."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter

import msgspec

from ingest.events.event import Event
from ingest.events.headers import API, CLIENT, CONFIGURED, TOKEN

KEY_BYTES_MAX = 255
"""The protocol's limit of a key (AMQP 0-9-1, 4.2.5.3)."""
VALUE_BYTES_MAX = 64
"""A longer value is cut. So every key of a checked template fits."""

Value = Callable[[Event], str]


def _token(event: Event) -> str:
    return event.headers.get(TOKEN, CONFIGURED) if event.headers else CONFIGURED


def _client(event: Event) -> str:
    return event.headers.get(CLIENT, API) if event.headers else API


VALUES: Mapping[str, Value] = {"event_type": attrgetter("event_type"), "token": _token, "client": _client}
"""The values by their names in a template. An outbox entry of an older version has no `client`."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_BRACE = re.compile(r"[{}]")
_SPECIAL = re.compile(r"[.*#\s\x00-\x1f\x7f]")
"""A dot would make further words of a value. `*` and `#` are wildcards of bindings, which could not name the value."""


def word_of(value: str) -> str:
    """Return a client's value as one word of a key."""
    word = _SPECIAL.sub("_", value)
    return word.encode()[:VALUE_BYTES_MAX].decode(errors="ignore") or "_"


class RoutingKey(msgspec.Struct, frozen=True):
    """`parts` are texts and names of values in turn. A key of one text is the same for every event."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, template: str) -> "RoutingKey":
        """Raises ValueError, which says what is wrong with the template."""
        key = cls(tuple(_PLACE.split(template)))
        key._check()
        return key

    def _check(self) -> None:
        if unknown := [name for name in self.names if name not in VALUES]:
            raise ValueError(f"{{{unknown[0]}}} is no value of an event: use {{{'}, {'.join(VALUES)}}}")
        text = "".join(self.parts[::2])
        if _BRACE.search(text):
            raise ValueError("a { or } belongs to no value")
        if wrong := re.search(r"[*#\s\x00-\x1f\x7f]", text):
            raise ValueError(f"{wrong[0]!r} cannot be in a key: wildcards belong to the bindings of queues")
        if not any(self.parts):
            raise ValueError("it is empty")
        longest = len(text.encode()) + VALUE_BYTES_MAX * len(self.names)
        if longest > KEY_BYTES_MAX:
            raise ValueError(f"its keys may have {longest} bytes, with {VALUE_BYTES_MAX} a value; {KEY_BYTES_MAX} fit")

    @property
    def names(self) -> tuple[str, ...]:
        return self.parts[1::2]

    def of(self, event: Event) -> str:
        return "".join(
            word_of(VALUES[part](event)) if position % 2 else part for position, part in enumerate(self.parts)
        )

    def distinguish(self, events: Sequence[Event]) -> Iterable[Hashable]:
        """Return a value for each event. Events with the same value have the same key."""
        values = [map(VALUES[name], events) for name in dict.fromkeys(self.names)]
        return values[0] if len(values) == 1 else zip(*values, strict=True)


class Destination(msgspec.Struct, frozen=True):
    """An exchange, and the routing key of each event."""

    exchange: str
    key: RoutingKey

    @classmethod
    def of_queue(cls, name: str) -> "Destination":
        """The default exchange, which routes a message to the queue that its key names."""
        return cls("", RoutingKey((name,)))
