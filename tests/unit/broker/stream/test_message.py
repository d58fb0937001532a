"""The hand-made AMQP 1.0 messages, read back by rstream's decoder."""

from typing import Any

import pytest
from rstream import AMQPMessage, Properties, amqp_decoder

from ingest.broker.stream.message import encode, encode_batch
from ingest.events.ids import milliseconds_of
from tests.unit.making import NOW_US, batch, event

EVENT_ID = 4_611_686_018_427_387_904
CREATED_MS = NOW_US // 1000


def decoded(message: bytes) -> Any:
    return amqp_decoder(message)


def body_of(message: bytes) -> bytes:
    body = decoded(message).body  # that of the last data section
    assert isinstance(body, bytes)
    return body


def test_properties_name_the_event() -> None:
    properties = decoded(encode(EVENT_ID, "call_started", b"{}", CREATED_MS)).properties

    assert properties.message_id == b"4611686018427387904"
    assert properties.subject == b"call_started"
    assert properties.content_type == b"application/json"
    assert properties.creation_time == CREATED_MS


def test_properties_that_are_not_ours_are_null() -> None:
    properties = decoded(encode(EVENT_ID, "call_started", b"{}", CREATED_MS)).properties

    ours = {"message_id", "subject", "content_type", "creation_time"}
    assert {name for name, value in properties._asdict().items() if value is not None} == ours


@pytest.mark.parametrize("event_id", [0, 9, 10, 2**63 - 1])
def test_message_id_is_decimal_whatever_its_length(event_id: int) -> None:
    message = encode(event_id, "call_started", b"{}", CREATED_MS)

    assert decoded(message).properties.message_id == str(event_id).encode()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 1_048_576])
def test_body_is_the_payload_byte_for_byte(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + b"\xff" * (size % 256)

    assert body_of(encode(EVENT_ID, "call_started", payload, CREATED_MS)) == payload


@pytest.mark.parametrize(
    "event_type",
    [
        "x",
        "звонок_начат",
        "\N{TELEPHONE RECEIVER}" * 64,
        "x" * 64,
        "x" * 174,
        "x" * 175,
        "x" * 255,
        "x" * 256,
        "é" * 5000,
    ],
    ids=lambda event_type: f"{len(event_type.encode())}-bytes",
)
def test_subject_is_the_type_in_utf8_however_long(event_type: str) -> None:
    message = encode(EVENT_ID, event_type, b'{"a": 1}', CREATED_MS)

    properties = decoded(message).properties
    assert properties.subject == event_type.encode()
    assert (properties.content_type, properties.creation_time) == (b"application/json", CREATED_MS)
    assert body_of(message) == b'{"a": 1}'


def test_every_length_of_type_and_id_is_well_formed() -> None:
    for length in range(1, 300):
        for event_id in (7, EVENT_ID):
            properties = decoded(encode(event_id, "t" * length, b"{}", CREATED_MS)).properties
            assert properties.subject == b"t" * length
            assert properties.message_id == str(event_id).encode()


def test_message_is_the_one_that_rstream_would_make() -> None:
    """They differ only in fields after the last one set, and in the short form of a short body's length."""
    made = AMQPMessage(
        properties=Properties(message_id=str(EVENT_ID), subject="перевод", content_type="application/json"),
        body=b"{}",
    )
    theirs, ours = decoded(bytes(made)), decoded(encode(EVENT_ID, "перевод", b"{}", CREATED_MS))
    assert ours.properties._replace(creation_time=None) == theirs.properties
    assert ours.body == theirs.body


def test_headers_are_application_properties() -> None:
    headers = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "token": "Zürich " + "z" * 300}
    read = decoded(encode(EVENT_ID, "call_started", b"{}", CREATED_MS, headers))
    assert {name.decode(): text.decode() for name, text in read.application_properties.items()} == headers
    assert (read.body, read.properties.creation_time) == (b"{}", CREATED_MS)


def test_batch_keeps_its_order_and_takes_times_from_the_ids() -> None:
    events = [event("call-1", "call_started"), event("call-2", "call_ended"), event("call-3", "перевод")]
    made = batch(events)

    messages = encode_batch(made)

    read = [decoded(message).properties for message in messages]
    assert [properties.message_id for properties in read] == [str(event_id).encode() for event_id in made.ids]
    assert [properties.subject for properties in read] == [e.event_type.encode() for e in events]
    assert (
        [properties.creation_time for properties in read] == [milliseconds_of(i) for i in made.ids] == [CREATED_MS] * 3
    )
    assert [body_of(message) for message in messages] == [e.payload for e in events]
