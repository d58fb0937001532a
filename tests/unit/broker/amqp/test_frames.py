"""The hand-made AMQP 0-9-1 frames, read back with pamqp."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from ingest.broker.amqp.frames import FRAME_BYTES_MAX as LIMITLESS_BYTES_MAX
from ingest.broker.amqp.frames import FRAME_OVERHEAD_BYTES, KEYS_MAX, Marshaller, MethodFrames, short_string
from ingest.events.batch import Batch, joined
from ingest.events.event import Event
from ingest.events.ids import milliseconds_of
from ingest.events.routing_key import Destination, RoutingKey
from tests.unit.making import NOW_US, batch, event

CHANNEL = 7
QUEUE = "call-events"
FRAME_BYTES_MAX = 4096
DEFAULT = Destination.of_queue(QUEUE)


def frames(made: Batch, frame_bytes_max: int = FRAME_BYTES_MAX, destination: Destination = DEFAULT) -> Iterator[Any]:
    yield from read_frames(Marshaller(CHANNEL, destination, frame_bytes_max).marshal(made), frame_bytes_max)


def read_frames(data: bytes, frame_bytes_max: int) -> Iterator[Any]:
    while data:
        consumed, channel, read = frame.unmarshal(data)
        assert channel == CHANNEL
        assert consumed <= (frame_bytes_max or LIMITLESS_BYTES_MAX)
        yield read
        data = data[consumed:]


def messages(made: Batch, destination: Destination = DEFAULT) -> list[tuple[Any, Any, bytes]]:
    """Method, header and body of every message."""
    found: list[tuple[Any, Any, bytes]] = []
    for read in frames(made, destination=destination):
        match read:
            case commands.Basic.Publish():
                found.append((read, None, b""))
            case ContentHeader():
                found[-1] = (found[-1][0], read, b"")
            case ContentBody():
                found[-1] = (*found[-1][:2], found[-1][2] + read.value)
    return found


def test_every_message_has_its_id_type_time_and_is_persistent() -> None:
    made = batch([event("call-1", "call_started"), event("call-2", "звонок")])
    for position, (_, header, _) in enumerate(messages(made)):
        properties = header.properties
        assert properties.message_id == str(made.ids[position])
        assert properties.message_type == made.events[position].event_type
        assert properties.delivery_mode == 2
        assert properties.content_type == "application/json"
        seconds = milliseconds_of(made.first_id) // 1000
        assert properties.timestamp == datetime.fromtimestamp(seconds, UTC)


def test_no_other_property_is_set() -> None:
    ((_, header, _),) = messages(batch(1))
    ours = {"message_id", "message_type", "delivery_mode", "content_type", "timestamp"}
    assert {name for name, value in header.properties if value} == ours  # pamqp has "" for one that is not set


def test_headers_of_an_event_are_its_messages_alone() -> None:
    headers = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "token": "Zürich " + "z" * 300}
    first, second, third = batch(3).events
    second.headers = headers
    read = messages(batch([first, second, third]))
    assert [header.properties.headers for _, header, _ in read] == [None, headers, None]
    for _, header, body in read:
        assert header.properties.content_type == "application/json"
        assert header.properties.delivery_mode == 2
        assert len(body) == header.body_size


def test_message_goes_to_the_queue_by_the_default_exchange_and_must_be_routed() -> None:
    for method, _, _ in messages(batch(3)):
        assert (method.exchange, method.routing_key, method.mandatory) == ("", QUEUE, True)


def test_each_message_of_a_batch_has_the_key_of_its_own_event() -> None:
    made = batch([event("call-1", kind) for kind in ("call_started", "call_ended", "call_started")])
    made.events[1].headers = {"token": "kamailio"}
    destination = Destination("calls", RoutingKey.parse("{event_type}.{token}"))

    methods = [method for method, _, _ in messages(made, destination)]

    assert [method.routing_key for method in methods] == [
        "call_started.configured",
        "call_ended.kamailio",
        "call_started.configured",
    ]
    assert {(method.exchange, method.mandatory) for method in methods} == {("calls", True)}


def test_cached_keys_are_bounded() -> None:
    cached = MethodFrames(CHANNEL, Destination("calls", RoutingKey.parse("{event_type}")))
    first = cached.of([event("call-1", f"type-{number}") for number in range(KEYS_MAX)])

    assert cached.of([event("call-2", "type-0")])[0] is first[0]
    cached.of([event("call-1", "one more")])
    (again,) = cached.of([event("call-2", "type-0")])
    assert again == first[0]
    assert again is not first[0]


@pytest.mark.parametrize("frames_of_body", [1, 2, 3])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_body_is_cut_at_the_frame_limit_and_is_byte_for_byte_the_payload(frames_of_body: int, more: int) -> None:
    limit = FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES
    size = frames_of_body * limit + more
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    made = batch([Event("call-1", "x", payload), Event("call-2", "x", b"{}")])
    (_, header, body), (_, _, after) = messages(made)
    assert header.body_size == size
    assert body == payload
    assert after == b"{}"
    bodies = [read for read in frames(made) if isinstance(read, ContentBody)]
    assert len(bodies) - 1 == -(-size // limit)


def test_broker_without_a_limit_gets_the_whole_body() -> None:
    payload = b"x" * (3 * LIMITLESS_BYTES_MAX)
    bodies = [read.value for read in frames(batch([Event("call-1", "x", payload)]), 0) if isinstance(read, ContentBody)]
    assert b"".join(bodies) == payload
    assert len(bodies) == 4


@pytest.mark.parametrize(("size", "kept"), [(3_900, {"tracestate", "token"}), (4_100, {"token"}), (90_000, {"token"})])
def test_headers_that_exceed_a_frame_are_dropped_the_longest_first(size: int, kept: set[str]) -> None:
    first, second = batch(2).events
    first.headers = {"tracestate": "z" * size, "token": "kamailio"}
    (_, header, body), (_, _, after) = messages(batch([first, second]))
    assert set(header.properties.headers) == kept
    assert (body, after) == (first.payload, second.payload)


def test_message_goes_out_without_headers_if_none_fits() -> None:
    (first,) = batch(1).events
    first.headers = {"token": "z" * FRAME_BYTES_MAX}
    ((_, header, body),) = messages(batch([first]))
    assert not header.properties.headers
    assert (header.properties.message_type, body) == (first.event_type, first.payload)


def test_batch_keeps_its_order() -> None:
    made = batch(50)
    assert [int(header.properties.message_id) for _, header, _ in messages(made)] == list(made.ids)
    assert [body for *_, body in messages(made)] == [e.payload for e in made.events]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 255),
        ("☎" * 64, "☎" * 64),
        ("☎" * 86, "☎" * 85),
        ("é" * 128, "é" * 127),
    ],
)
def test_short_string_holds_255_bytes_and_is_cut_at_a_whole_character(text: str, kept: str) -> None:
    data = short_string(text.encode())
    assert (data[0], data[1:].decode()) == (len(kept.encode()), kept)


def test_type_of_four_byte_characters_fits() -> None:
    """64 characters, the most that an event type may have, can be 256 bytes."""
    made = batch([Event("call-1", "\N{TELEPHONE RECEIVER}" * 64, b"{}")])
    ((_, header, _),) = messages(made)
    assert header.properties.message_type == "\N{TELEPHONE RECEIVER}" * 63


def test_each_message_has_the_second_of_its_own_id_also_where_ids_descend() -> None:
    early, late = batch(2, us=NOW_US - 3_000_000), batch(2, us=NOW_US)
    together = joined([late, early, late])
    seconds = [header.properties.timestamp.timestamp() for _, header, _ in messages(together)]
    assert seconds == [milliseconds_of(event_id) // 1000 for event_id in together.ids]
    assert len(set(seconds)) == 2
