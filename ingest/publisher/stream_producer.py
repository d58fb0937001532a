"""rstream's producer for one stream and one connection, without its own recovery."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rstream import Producer, exceptions, schema

from ingest.errors import BrokerUnavailable
from ingest.publisher.stream_address import CONNECTION_NAME, StreamAddress, finished

ABORTED_SECONDS = 2.0
"""rstream sleeps 0.2 s here and there while it closes a connection that is broken."""

MOVED = "RabbitMQ's stream was deleted, or has a new leader."
REASONS = {"Connection Closed": "The connection to RabbitMQ was lost.", "Metadata Update": MOVED}
"""rstream's word for it → ours."""


class OneConnectionProducer(Producer):
    """Tells `on_lost` the reason when its connection or its stream is gone, and stays that way.

    rstream would connect again by itself, with pauses of its own and with nobody knowing of it.
    """

    def __init__(self, address: StreamAddress, stream: str, on_lost: Callable[[str], None]) -> None:
        super().__init__(
            **address.options(), on_close_handler=lambda info: on_lost(REASONS.get(info.reason, info.reason))
        )
        self._stream = stream
        self._on_lost = on_lost
        self._client: Any = None  # an rstream Client; Any, as `abort` needs what is no part of its interface

    async def open(self) -> None:
        """Connect, make sure that the stream is there, and announce the publisher to its leader.

        Without a name: the broker discards nothing then, whatever the publishing ids are.
        """
        await self.start()
        # One that is there with arguments of its own, or is not ours to make, is used as it is.
        with suppress(exceptions.PreconditionFailed, exceptions.AccessRefused):
            await self.create_stream(self._stream, exists_ok=True)
        try:
            self._client = await self._get_or_create_client(self._stream)
            self._listen(self._client)
            await self._get_or_create_publisher(self._stream)
        except exceptions.StreamDoesNotExist as exc:
            raise BrokerUnavailable(
                f"There is no stream {self._stream!r}: a queue may have its name, or the user may not declare it."
            ) from exc

    def _listen(self, client: Any) -> None:
        """rstream's own handlers come too late for a leader that moves at once, as after a restart,
        and leave a connection looking alive that the broker has closed."""
        client.add_handler(schema.MetadataUpdate, lambda _: self._on_lost(MOVED), CONNECTION_NAME)
        client.add_handler(schema.Close, self._on_close, CONNECTION_NAME)

    @property
    def frame_bytes_max(self) -> int:
        """As negotiated with the broker."""
        return int(self._client.frame_max)

    @property
    def alive(self) -> bool:
        """False after a failed write, too, which rstream tells nobody."""
        return bool(self._client.is_connection_alive())

    async def answers(self) -> bool:
        """Ask the broker for the stream; False if it is gone."""
        return bool(await self._client.stream_exists(self._stream))

    async def end(self, seconds: float, *, broken: bool) -> None:
        """Close within `seconds`, without a word to a broker that does not listen."""
        if broken or not await finished(self.close(), seconds):
            self._abort()
            await finished(self.close(), ABORTED_SECONDS)

    async def maybe_restart_producer(self, reason: str, stream: str) -> None:
        """Called by rstream after a loss. Nothing: a new producer is made by the supervisor."""

    def _abort(self) -> None:
        pool: Any = self._pool
        for client in [client for clients in pool._clients.values() for client in clients]:
            client._is_not_closed = False
            if client._conn is not None and client._conn._writer is not None:
                client._conn._writer.transport.abort()

    def _on_close(self, frame: schema.Close) -> None:
        self._on_lost(f"RabbitMQ closed the connection: {frame.reason}.")
