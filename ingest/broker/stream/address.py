"""The address of a stream, and how rstream connects and closes."""

import asyncio
import logging
import ssl
from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from rstream.connection import ConnectionClosed
from rstream.exceptions import ClientError, ServerError

from ingest.broker.supervisor import text_of
from ingest.errors import BrokerUnavailable
from ingest.failover import each_host

log = logging.getLogger("ingest.publisher")

CONNECTION_NAME = "call-events-ingest"
HEARTBEAT_SECONDS = 10
PORT, TLS_PORT = 5552, 5551
ABORTED_SECONDS = 2.0
"""Limit for closing a broken connection, during which rstream sleeps 0.2 s several times."""
ERRORS = (TimeoutError, OSError, ServerError, ClientError, ConnectionClosed)
"""Errors that rstream raises if the broker is away or slow, or refuses something."""


class StreamAddress(msgspec.Struct, frozen=True):
    """`rabbitmq-stream://user:pass@host:5552/vhost`, or `rabbitmq-stream+tls://…?cafile=FILE` for TLS."""

    host: str
    port: int
    username: str
    password: str
    vhost: str
    tls: bool
    ca_file: str | None = None

    @classmethod
    def parse(cls, url: str) -> "StreamAddress":
        parts = urlsplit(url)
        tls = parts.scheme.endswith("+tls")
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or (TLS_PORT if tls else PORT),
            username=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            vhost=unquote(parts.path[1:]) or "/",
            tls=tls,
            ca_file=next(iter(parse_qs(parts.query).get("cafile", ())), None),
        )

    @classmethod
    def parse_each(cls, url: str) -> "Sequence[StreamAddress]":
        """Return an address for each host of the URL. Each host knows the leaders of all streams."""
        return [cls.parse(one) for one in each_host(url)]

    def options(self) -> dict[str, Any]:
        """Return the arguments of rstream's `Consumer`."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "vhost": self.vhost,
            "ssl_context": self.ssl_context(),
            "heartbeat": HEARTBEAT_SECONDS,
            "connection_name": CONNECTION_NAME,
        }

    def ssl_context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca_file) if self.tls else None


class LeaderUnreachable(BrokerUnavailable):
    """RabbitMQ names an address of a stream's leader that cannot be reached from here."""

    code = BrokerUnavailable.code

    def __init__(self, host: str, port: int, cause: BaseException) -> None:
        super().__init__(
            f"RabbitMQ names {host}:{port} as the address of the stream's leader, which cannot be reached from here"
            f" ({text_of(cause)}). Set stream.advertised_host and stream.advertised_port in rabbitmq.conf to an address"
            " that this host can reach."
        )


async def finished(closing: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Await a `close` of rstream for `seconds`, and return True if it ended. Never raises.

    `asyncio.timeout` cannot limit it: rstream catches the cancellation, logs it and continues.
    """
    task = asyncio.create_task(closing)
    await asyncio.wait([task], timeout=seconds)
    if not task.done():
        task.cancel()
        return False
    if not task.cancelled() and task.exception():
        log.debug("closing the stream connection failed", exc_info=task.exception())
    return True


async def abort(client: Any) -> None:
    """Close an rstream `Client` without telling the broker, which does not answer."""
    client._is_not_closed = False
    if client._conn is not None and client._conn._writer is not None:
        client._conn._writer.transport.abort()
    await finished(client.close(), ABORTED_SECONDS)
