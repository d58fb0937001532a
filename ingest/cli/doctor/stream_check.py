"""Publishes a message with a confirm to a stream of its own, which it deletes afterwards."""

import asyncio
import secrets

from rstream.client import Client
from rstream.exceptions import AccessRefused

from ingest.broker.stream.address import ERRORS, LeaderUnreachable, StreamAddress
from ingest.broker.stream.message import encode
from ingest.broker.stream.node import Publication, StreamNode
from ingest.broker.supervisor import text_of
from ingest.clock import unix_us
from ingest.errors import BrokerUnavailable, IngestError
from ingest.failover import FailoverHosts
from ingest.settings import Settings

NOT_TRIED = "not tried: this user may not declare a stream of its own"
NO_FILTERS = "its streams have no filters before RabbitMQ 3.13, so INGEST_STREAM_FILTER has no effect"
PUBLISHING_ID = 1
LIMITS = {"max-age": "60s"}
"""RabbitMQ then keeps little of a stream that could not be deleted."""


async def try_stream(settings: Settings) -> str:
    """Return the result. Raises `IngestError` if no confirm comes, or if the stream stays."""
    hosts = FailoverHosts(StreamAddress.parse_each(settings.stream_url))
    try:
        node = await hosts.connected(lambda address: StreamNode.open(address, address.host, address.port, _ignore))
        try:
            return await _publish_to_own(hosts.current, node, settings)
        finally:
            await node.end(settings.connect_timeout_seconds, broken=False)
    except ERRORS as exc:
        raise IngestError(f"RabbitMQ took no message to a stream of its own: {text_of(exc)}.") from exc


async def _publish_to_own(address: StreamAddress, first: StreamNode, settings: Settings) -> str:
    """Name the stream as the service's one with a suffix: rights are often given by the begin of a name."""
    stream = f"{settings.queue}-doctor-{secrets.token_hex(4)}"
    try:
        await first.client.create_stream(stream, LIMITS)
    except AccessRefused:
        return NOT_TRIED
    try:
        host, port = await _leader(first.client, stream)
        await _publish(address, host, port, stream, settings)
        unfiltered = bool(settings.stream_filter) and not await first.takes_filters()
    finally:
        await _delete(first.client, stream, settings.connect_timeout_seconds)
    result = f"a message was published with a confirm to a stream at {host}:{port}, and the stream was deleted"
    return f"{result}; {NO_FILTERS}" if unfiltered else result


async def _leader(client: Client, stream: str) -> tuple[str, int]:
    leader, _ = await client.query_leader_and_replicas(stream)
    return leader.host, leader.port


async def _publish(address: StreamAddress, host: str, port: int, stream: str, settings: Settings) -> None:
    try:
        async with asyncio.timeout(settings.connect_timeout_seconds):
            leader = await StreamNode.open(address, host, port, _ignore)
    except OSError as exc:  # a TimeoutError is one
        raise LeaderUnreachable(host, port, exc) from exc
    seconds = min(settings.confirm_timeout_seconds, settings.connect_timeout_seconds)
    try:
        async with asyncio.timeout(seconds):
            await _confirmed(leader, stream)
    except TimeoutError:
        raise BrokerUnavailable(f"RabbitMQ did not confirm a message to a stream within {seconds:g} s.") from None
    finally:
        await leader.end(settings.connect_timeout_seconds, broken=False)


async def _confirmed(leader: StreamNode, stream: str) -> None:
    producer = await leader.declare(stream, "")
    publication = Publication(1)
    producer.expect([PUBLISHING_ID], publication)
    message = encode(PUBLISHING_ID, "doctor", b'{"from":"ingest doctor"}', unix_us() // 1000)
    await leader.send(producer, [(PUBLISHING_ID, message)])
    await publication.done


async def _delete(client: Client, stream: str, seconds: float) -> None:
    """Raises `BrokerUnavailable` with the name of the stream if it stays."""
    try:
        async with asyncio.timeout(seconds):
            await client.delete_stream(stream)
    except ERRORS as exc:
        raise BrokerUnavailable(
            f"The stream {stream} of this check could not be deleted ({text_of(exc)}): delete it by hand."
        ) from exc


def _ignore(reason: str) -> None:
    """The check notices a lost connection itself, as no confirm comes."""
