"""Checks, by faults, that a peer keeps the promises of its kind. Each check starts the peer on its own stand."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress

import msgspec

from bench.harness.events import bodies
from bench.harness.targets import DRAIN_SECONDS_MAX, UNPUBLISHED, BenchFailed, Servers, broker_channel
from bench.peers.honesty import EVENTS, IDS, LOCKED_SECONDS, QUEUED, compare, expect, locked, messages
from bench.peers.posting import post
from bench.peers.stand import Peer, QueueType, Stand, stand
from bench.peers.starting import Kind, Start
from tests.faults.harness.wire import Wire
from tests.services import wait_until

FULL: Mapping[str, str | int] = {"x-max-length": 5, "x-overflow": "reject-publish"}
"""Arguments of a queue that refuses most of `EVENTS`."""
UNCONFIRMED_SECONDS = 1.0
"""Ten times as long as a confirmed entry waits to be settled."""
TABLES = ("call_event_logs", "ingest_outbox")


def check(kind: Kind, servers: Servers, mode: QueueType) -> None:
    """Raise `BenchFailed` unless refused messages are published in the end, and an outbox keeps what it promises."""
    with stand(servers, mode, FULL) as place, kind.start(place) as peer:
        publishes_what_the_broker_refused(peer)
    if kind.outbox:
        with stand(servers, mode) as place, kind.start(place) as peer:
            commits_rows_and_entry_together(peer)
        with stand(servers, mode) as place:
            loses_nothing_when_killed(kind.start, place)


def publishes_what_the_broker_refused(peer: Peer) -> None:
    """Raise `BenchFailed` if an event that was answered 200 never reaches a queue that was full at first."""
    sent = bodies(EVENTS)
    missing = {body for body in sent if post(peer.port, body, peer.token)[0] == 200}
    with broker_channel(peer.stand.servers.rabbitmq) as channel:
        depth = peer.stand.depth(channel)
    if depth == EVENTS:
        raise BenchFailed("the full queue refused no message")

    def arrived() -> bool:
        missing.difference_update(body for _, _, body in messages(peer))
        return not missing

    if not wait_until(arrived, DRAIN_SECONDS_MAX):
        raise BenchFailed(f"{len(missing)} events were answered 200, and are not published after the broker's refusal")


def commits_rows_and_entry_together(peer: Peer) -> None:
    """Raise `BenchFailed` if the peer answers, or commits one table, while the other table is locked."""
    for table, other in (TABLES, TABLES[::-1]):
        commits_nothing_while_locked(peer, table, other)


def commits_nothing_while_locked(peer: Peer, table: str, other: str, seconds: float = LOCKED_SECONDS) -> None:
    """Raise `BenchFailed` if the peer answers, or commits `other`, while `table` is locked for this time."""
    with locked(peer.stand, table):
        with suppress(TimeoutError):
            status, _ = post(peer.port, bodies(1)[0], peer.token, seconds)
            raise BenchFailed(f"{status} was answered while {table} was locked")
        if peer.stand.count(f"SELECT COUNT(*) FROM {other}"):
            raise BenchFailed(f"{other} was committed while {table} was locked")
    settled(peer)
    peer.clear()


def loses_nothing_when_killed(start: Start, place: Stand) -> None:
    """Kill (-9) the peer after its answers and before the broker has the messages. The next start must publish them.

    Raises `BenchFailed` if a message is lost, or if the outbox lost an entry before its confirm.
    """
    sent = bodies(EVENTS)
    with Wire(place.amqp_url) as wire, ExitStack() as running:
        peer = running.enter_context(start(msgspec.structs.replace(place, amqp_url=wire.url)))
        with wire.swallowing():
            for body in sent:
                expect(post(peer.port, body, peer.token), 200, QUEUED)
            if wait_until(lambda: place.count(UNPUBLISHED) == 0, UNCONFIRMED_SECONDS):
                raise BenchFailed("the outbox is empty before a confirm")
            running.close()
            wire.cut()
    with start(place) as peer:
        settled(peer)
        rows = place.servers.mysql.query(IDS, place.database)
        compare(sent, rows, sorted(set(messages(peer))))  # a repeated message is no lost one


def settled(peer: Peer) -> None:
    """Wait until all rows are published and the outbox is empty. Raises `BenchFailed` on a timeout."""
    peer.drain()
    if not wait_until(lambda: peer.stand.count(UNPUBLISHED) == 0, DRAIN_SECONDS_MAX):
        raise BenchFailed(f"{peer.stand.count(UNPUBLISHED)} outbox entries of published events are left")
