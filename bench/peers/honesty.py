"""Checks before the measurement that a peer commits and publishes every event."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import pymysql

from bench.harness.events import bodies, step
from bench.harness.targets import BenchFailed, broker_channel
from bench.peers.posting import post
from bench.peers.stand import Peer, Stand
from tests.services.mysql import NO_TLS

EVENTS = 30
LOCKED_SECONDS = 0.5
QUEUED = {"status": "queued"}
PERSISTENT = 2
IDS = "SELECT CAST(id AS CHAR), call_id, event_type, payload FROM call_event_logs"

INVALID: tuple[dict[str, Any], ...] = (
    {},
    {**step("invalid", "call_started"), "call_id": ""},
    {**step("invalid", "call_started"), "call_id": 5},
    {**step("invalid", "call_started"), "timestamp": "yesterday, or so"},
    {**step("invalid", "call_ended"), "duration": -1},
    {**step("invalid", "call_ended"), "duration": 1.5},
    {**step("invalid", "call_ended"), "duration": None},
)


def check(peer: Peer) -> None:
    """Raise `BenchFailed` unless 200 means a committed row and a persistent message, and 401 and 422 mean neither."""
    answers_after_the_commit(peer)
    peer.clear()
    sent = bodies(EVENTS)
    for number, body in enumerate(sent, start=1):
        expect(post(peer.port, body, peer.token), 200, QUEUED)
        if peer.rows() != number:
            raise BenchFailed(f"{number} events were answered 200, {peer.rows()} are committed")
    for token in (None, "", "not-" + peer.token):
        expect(post(peer.port, sent[0], token), 401)
    for event in INVALID:
        expect(post(peer.port, json.dumps(event).encode(), peer.token), 422)
    peer.drain()
    rows = peer.stand.servers.mysql.query(IDS, peer.stand.database)
    compare(sent, rows, messages(peer))
    peer.clear()


def answers_after_the_commit(peer: Peer) -> None:
    """Raise `BenchFailed` if the peer answers an event while it cannot commit."""
    with locked(peer.stand, "call_event_logs"), suppress(TimeoutError):
        status, _ = post(peer.port, bodies(1)[0], peer.token, LOCKED_SECONDS)
        raise BenchFailed(f"{status} was answered before the event could be committed")
    peer.drain()


@contextmanager
def locked(place: Stand, table: str) -> Iterator[None]:
    """Lock the table against all writes."""
    mysql = place.servers.mysql
    with closing(
        pymysql.connect(
            host=mysql.host,
            port=mysql.port,
            user=mysql.user,
            password=mysql.password,
            database=place.database,
            ssl_disabled=NO_TLS,
        )
    ) as connection:
        connection.query(f"LOCK TABLES {table} WRITE")
        yield


def expect(answer: tuple[int, bytes], status: int, content: object = None) -> None:
    """Raise `BenchFailed` if the answer differs, or is not JSON."""
    try:
        received = json.loads(answer[1])
    except ValueError:
        raise BenchFailed(f"{answer[0]} with a body that is not JSON: {answer[1][:200]!r}") from None
    if answer[0] != status or (content is not None and received != content):
        raise BenchFailed(f"{answer[0]} {received} instead of {status} {content or ''}")


def messages(peer: Peer) -> list[tuple[str, int, bytes]]:
    """Consume all messages of the queue: id, delivery mode, body."""
    taken: list[tuple[str, int, bytes]] = []
    with broker_channel(peer.stand.servers.rabbitmq) as channel:
        while True:
            method, properties, body = channel.basic_get(peer.stand.queue, auto_ack=True)
            if method is None:
                return taken
            taken.append((properties.message_id, properties.delivery_mode, body))


def compare(sent: Sequence[bytes], rows: Sequence[tuple[Any, ...]], got: Sequence[tuple[str, int, bytes]]) -> None:
    """Raise `BenchFailed` unless each sent body is one row and one persistent message with the same id."""
    if sorted(body for _, _, body in got) != sorted(sent):
        raise BenchFailed(f"{len(sent)} events were sent, the queue has {len(got)} messages, or other bodies")
    if any(mode != PERSISTENT for _, mode, _ in got):
        raise BenchFailed("a message is not persistent")
    kept = {(row_id, *_columns(json.loads(payload))) for row_id, _, _, payload in rows}
    if kept != {(row_id, call_id, event_type) for row_id, call_id, event_type, _ in rows}:
        raise BenchFailed("a row's columns are not those of its payload")
    if kept != {(message_id, *_columns(json.loads(body))) for message_id, _, body in got}:
        raise BenchFailed("the rows are not the messages")


def _columns(event: dict[str, Any]) -> tuple[str, str]:
    return event["call_id"], event["event_type"]
