"""Opens aiormq's transports, with a `ConfirmReader` between the socket and aiormq."""

import asyncio
from typing import Any

import aiormq
from yarl import URL

from ingest.broker.amqp.wire import ConfirmReader


class ConfirmTransport(aiormq.TransportFactory):
    """Plain TCP for `amqp:`, and TLS for `amqps:`, as aiormq's own factories."""

    def __init__(self, confirms: ConfirmReader) -> None:
        self._confirms = confirms

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        certificates: aiormq.SSLContextProvider = kwargs.pop("ssl_context_provider")
        tls = await certificates.get_context() if url.scheme == "amqps" else None
        reader = asyncio.StreamReader(loop=loop)
        protocol = _ConfirmProtocol(reader, self._confirms)
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, host=url.host or "", port=url.port or 0, ssl=tls, **kwargs
            )
        except OSError as exc:
            raise aiormq.AMQPConnectionError(*exc.args) from exc
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _ConfirmProtocol(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader, confirms: ConfirmReader) -> None:
        super().__init__(reader)
        self._confirms = confirms

    def data_received(self, data: bytes) -> None:
        if passed := self._confirms.feed(data):
            super().data_received(passed)
