"""The cost of one event or one batch in each step. The reference does nothing but the step's own work."""

import time
from collections.abc import Iterator
from hashlib import blake2s
from itertools import count

import msgspec
import pytest
from msgspec.structs import replace

from bench.harness.events import bodies
from bench.micro.conftest import Beside
from ingest.auth.authenticator import Authenticator
from ingest.broker.amqp.frames import Marshaller
from ingest.broker.stream.message import encode_batch
from ingest.events.batch import Batch
from ingest.events.event import decode
from ingest.events.ids import IdGenerator
from ingest.events.routing_key import Destination, RoutingKey
from ingest.store.mysql.statements.commit import commit

BATCH_EVENTS = 500
KEYS = 100
"""Routing keys in a batch."""
SETTLED = range(1, 9)
"""Outbox entries that a commit settles on the way."""
NOW_US = 1_738_331_100_123_456
FRAME_BYTES_MAX = 131_072
TOKEN = "a-token-of-the-benchmarks"


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    return bodies(BATCH_EVENTS)


@pytest.fixture(scope="module")
def batch(payloads: list[bytes]) -> Batch:
    return Batch(IdGenerator(1, lambda: NOW_US).take(BATCH_EVENTS), [decode(body) for body in payloads], NOW_US)


def test_decode_beside_plain_json(beside: Beside, payloads: list[bytes]) -> None:
    plain = msgspec.json.Decoder().decode
    beside("decode", lambda: [decode(body) for body in payloads], lambda: [plain(body) for body in payloads])


def test_ids_beside_a_list_of_numbers(beside: Beside) -> None:
    milliseconds: Iterator[int] = count(NOW_US, 1000)
    ids = IdGenerator(1, lambda: next(milliseconds))
    first = ids.take(1)[0]
    beside(
        "ids",
        lambda: [ids.take(BATCH_EVENTS) for _ in range(50)],
        lambda: [list(range(first, first + BATCH_EVENTS)) for _ in range(50)],
    )


def test_statement_beside_formatted_rows(beside: Beside, batch: Batch) -> None:
    def format_rows() -> bytes:
        rows = zip(batch.ids, batch.events, strict=True)
        return b",".join(
            [
                b"(%d,'%b','%b','%b')" % (event_id, event.call_id.encode(), event.event_type.encode(), event.payload)
                for event_id, event in rows
            ]
        )

    beside("statement", lambda: commit(batch, 30.0, SETTLED), format_rows)


def test_frames_beside_joined_payloads(beside: Beside, batch: Batch) -> None:
    marshaller = Marshaller(1, Destination.of_queue("call-events"), FRAME_BYTES_MAX)

    def join_payloads() -> bytes:
        rows = zip(batch.ids, batch.events, strict=True)
        return b"".join([b"%d%b" % (event_id, event.payload) for event_id, event in rows])

    beside("frames", lambda: marshaller.marshal(batch), join_payloads)


def test_frames_of_many_keys_beside_those_of_one(beside: Beside, payloads: list[bytes]) -> None:
    events = [
        replace(decode(body), event_type=f"type-{number % KEYS}", headers=None) for number, body in enumerate(payloads)
    ]
    many_keys = Batch(IdGenerator(1, lambda: NOW_US).take(BATCH_EVENTS), events, NOW_US)
    one = Marshaller(1, Destination.of_queue("call-events"), FRAME_BYTES_MAX)
    routed = Marshaller(1, Destination("call-events", RoutingKey.parse("{event_type}.{token}")), FRAME_BYTES_MAX)

    beside("routed_frames", lambda: routed.marshal(many_keys), lambda: one.marshal(many_keys))


def test_stream_messages_beside_copied_payloads(beside: Beside, batch: Batch) -> None:
    def copy_payloads() -> list[bytes]:
        rows = zip(batch.ids, batch.events, strict=True)
        return [b"%d%b" % (event_id, event.payload) for event_id, event in rows]

    beside("stream_messages", lambda: encode_batch(batch), copy_payloads)


def test_token_beside_one_digest(beside: Beside) -> None:
    authenticator, encoded = Authenticator([TOKEN], time.monotonic), TOKEN.encode()
    beside(
        "token",
        lambda: [authenticator.client_of(TOKEN) for _ in range(BATCH_EVENTS)],
        lambda: [blake2s(encoded).digest() for _ in range(BATCH_EVENTS)],
    )
