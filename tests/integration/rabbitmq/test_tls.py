"""Verified TLS to RabbitMQ: to a queue, and to a stream."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ingest.broker.amqp.publisher import AmqpPublisher
from ingest.broker.amqp.queue import QueueDeclaration
from ingest.broker.base import Publisher
from ingest.broker.stream.publisher import StreamPublisher
from ingest.broker.stream.topology import StreamTopology
from ingest.telemetry.connection_metrics import NO_OBSERVER
from tests.certificates import Authority
from tests.contract.broker.publishers import LIMITS, publishing, until
from tests.integration.rabbitmq.tls import TLSRabbitMQ
from tests.many_commands import Run, run_commands
from tests.unit.making import batch

SCHEMES = ["amqps", "rabbitmq-stream+tls"]


@pytest.fixture(scope="module")
def tls_rabbitmq() -> Iterator[TLSRabbitMQ]:
    if os.environ.get("INGEST_TEST_AMQP_URL"):
        pytest.skip("INGEST_TEST_AMQP_URL names a server whose certificate is not ours")
    with TLSRabbitMQ() as server:
        yield server


def publisher_to(url: str, name: str) -> Publisher:
    limits: Mapping[str, Any] = LIMITS
    if url.startswith("amqps:"):
        return AmqpPublisher(url, QueueDeclaration(name, "classic"), NO_OBSERVER, channels_max=2, **limits)
    return StreamPublisher(url, StreamTopology(name), NO_OBSERVER, **limits)


async def refusal(url: str) -> str:
    """Return the publisher's reason for having no connection."""
    publisher = publisher_to(url, "calls")
    await publisher.start()
    try:
        await until(lambda: "certificate" in (publisher.problem or ""))
        return publisher.problem or ""
    finally:
        await publisher.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_server_with_a_certificate_of_the_given_authority_is_published_to(
    tls_rabbitmq: TLSRabbitMQ, scheme: str
) -> None:
    publisher = publisher_to(tls_rabbitmq.url(scheme, tls_rabbitmq.ca_path), f"calls-{scheme}")

    async with publishing(publisher):
        await publisher.publish(batch(3))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_server_with_a_certificate_of_another_authority_is_not(
    tls_rabbitmq: TLSRabbitMQ, scheme: str, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "ca.pem")

    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(tls_rabbitmq.url(scheme, other.path))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_server_is_who_it_is_said_to_be(tls_rabbitmq: TLSRabbitMQ, scheme: str) -> None:
    url = tls_rabbitmq.url(scheme, tls_rabbitmq.ca_path, host="127.0.0.1")

    assert "IP address mismatch" in await refusal(url)


def test_commands_tell_that_the_port_speaks_tls(tls_rabbitmq: TLSRabbitMQ, tmp_path: Path) -> None:
    settings = {"API_TOKENS": "a-token"}
    queue = {**settings, "CONNECT_TIMEOUT_SECONDS": "30", "BROKER_URL": f"amqp://127.0.0.1:{tls_rabbitmq.tls_port}/"}
    # This port says nothing, so its deadline passes.
    stream = {**settings, "CONNECT_TIMEOUT_SECONDS": "1", "PUBLISH_TO": "stream"}
    url = {"STREAM_URL": f"rabbitmq-stream://127.0.0.1:{tls_rabbitmq.tls_stream_port}/"}
    runs = [Run(["doctor"], queue), Run(["doctor"], stream | url), Run(["tail"], queue)]

    doctor, of_stream, tail = run_commands(tmp_path, runs)

    assert [one.code for one in (doctor, of_stream, tail)] == [1, 1, 1]
    assert "does the port expect TLS" in doctor.stdout
    assert "another protocol, such as TLS, may be silent" in of_stream.stdout
    assert "cannot be reached" in tail.reason
