"""Marshals the AMQP 0-9-1 frames of a publish, for a whole batch at once.

The layout follows the specification. A frame is `type, channel, size, payload, 0xCE` (2.3.5). A publish is a method
frame, a content header frame (2.3.5.2), and body frames according to the size.
"""

import struct
from collections.abc import Hashable, Mapping, Sequence

from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import ids_of_second, milliseconds_of
from ingest.events.routing_key import Destination

METHOD, HEADER, BODY = 1, 2, 3
FRAME_END = b"\xce"
FRAME_OVERHEAD_BYTES = 8
FRAME_BYTES_MAX = 131_072
"""The limit if the broker has none: RabbitMQ's default."""
CLASS_BASIC, METHOD_PUBLISH = 60, 40
MANDATORY = 1
PERSISTENT = 2
KEYS_MAX = 1000
"""Cached method frames of a channel. The limit is needed because clients may invent event types."""

# Property flags of class basic, highest bit first: the properties that every message here has.
_FLAGS = 1 << 15 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 5
_HEADERS_FLAG = 1 << 13
_HEADER_BYTES = 14
"""Size of a content header before its properties."""
_CONTENT_TYPE = b"application/json"

_frame_start = struct.Struct(">BHI").pack
_content_header = struct.Struct(">BHIHHQH").pack
"""A content header frame before its properties."""
_body_start = struct.Struct(">cBHI").pack
"""The end of a frame, and the start of a body frame."""
_u64 = struct.Struct(">Q").pack
_u32 = struct.Struct(">I").pack


def short_string(value: bytes) -> bytes:
    """Cut a longer value to the protocol's limit of 255 bytes, at a whole character."""
    if len(value) > 255:
        value = value[:255].decode(errors="ignore").encode()
    return bytes((len(value),)) + value


def publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    """Return the frame `basic.publish`, mandatory."""
    payload = (
        struct.pack(">HHH", CLASS_BASIC, METHOD_PUBLISH, 0)
        + short_string(exchange.encode())
        + short_string(routing_key.encode())
        + bytes((MANDATORY,))
    )
    return _frame_start(METHOD, channel, len(payload)) + payload + FRAME_END


def headers_table(headers: Mapping[str, str]) -> bytes:
    """Return a field table (4.2.5.5) of long strings."""
    fields = b"".join(
        short_string(name.encode()) + b"S" + _u32(len(value)) + value
        for name, value in ((name, text.encode()) for name, text in headers.items())
    )
    return _u32(len(fields)) + fields


class MethodFrames:
    """The frames `basic.publish` of one channel, cached by routing key."""

    def __init__(self, channel: int, destination: Destination) -> None:
        self._channel = channel
        self._destination = destination
        self._cached: dict[Hashable, bytes] = {}
        varies = bool(destination.key.names)
        self._fixed = None if varies else publish_method(channel, destination.exchange, destination.key.parts[0])
        """The frame of every message; None if the keys differ."""

    def of(self, events: Sequence[Event]) -> Sequence[bytes]:
        """Return the frame of each event."""
        if self._fixed:
            return [self._fixed] * len(events)
        cached, make, values = self._cached, self._make, self._destination.key.distinguish(events)
        return [cached.get(value) or make(value, event) for value, event in zip(values, events, strict=True)]

    def _make(self, values: Hashable, event: Event) -> bytes:
        if len(self._cached) >= KEYS_MAX:
            self._cached.clear()
        made = publish_method(self._channel, self._destination.exchange, self._destination.key.of(event))
        self._cached[values] = made
        return made


class Marshaller:
    """Marshals batches for one channel.

    `frame_bytes_max` limits the size of a frame; 0 means that the broker has no limit.
    """

    def __init__(self, channel: int, destination: Destination, frame_bytes_max: int) -> None:
        self._channel = channel
        self._methods = MethodFrames(channel, destination)
        self._body_bytes_max = (frame_bytes_max or FRAME_BYTES_MAX) - FRAME_OVERHEAD_BYTES
        self._properties = short_string(_CONTENT_TYPE) + bytes((PERSISTENT,))

    def marshal(self, batch: Batch) -> bytes:
        """Return all frames of the batch: persistent messages with their event's id as message id."""
        channel, properties = self._channel, self._properties
        types: dict[str, bytes] = {}
        second, timestamp = range(0), b""
        parts: list[bytes] = []
        for event_id, event, method in zip(batch.ids, batch.events, self._methods.of(batch.events), strict=True):
            if event_id not in second:
                second, types, timestamp = ids_of_second(event_id), {}, _u64(milliseconds_of(event_id) // 1000)
            name = b"%d" % event_id
            kind = types.get(event.event_type)
            if kind is None:
                kind = types[event.event_type] = timestamp + short_string(event.event_type.encode())
            values = b"%b%c%b%b" % (properties, len(name), name, kind)
            flags = _FLAGS
            if event.headers:
                with_headers = self._with_headers(values, event.headers)
                flags |= _HEADERS_FLAG if with_headers is not values else 0
                values = with_headers
            body = event.payload
            size = len(body)
            head = _content_header(HEADER, channel, _HEADER_BYTES + len(values), CLASS_BASIC, 0, size, flags)
            if size <= self._body_bytes_max:
                parts += (method, head, values, _body_start(FRAME_END, BODY, channel, size), body, FRAME_END)
            else:
                parts += (method, head, values, FRAME_END, *self._body_frames(body))
        return b"".join(parts)

    def _with_headers(self, values: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the properties with the table of headers inserted after the content type.

        All properties of a message share one frame. If the headers do not fit, the longest ones are dropped first,
        because the event itself matters more.
        """
        at, limit = len(_CONTENT_TYPE) + 1, self._body_bytes_max - _HEADER_BYTES
        kept = dict(headers)
        while kept and len(made := values[:at] + headers_table(kept) + values[at:]) > limit:
            del kept[max(kept, key=lambda name: len(kept[name]))]
        return made if kept else values

    def _body_frames(self, body: bytes) -> Sequence[bytes]:
        limit = self._body_bytes_max
        chunks = (body[start : start + limit] for start in range(0, len(body), limit))
        return [_frame_start(BODY, self._channel, len(chunk)) + chunk + FRAME_END for chunk in chunks]
