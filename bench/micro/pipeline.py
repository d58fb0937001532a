"""The pipeline as `ingest.server.wiring` makes it, between clients, a database and a broker that cost nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import uvloop

from ingest.broker.base import Priority
from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.http.event_handler import EventHandler
from ingest.http.rsgi import HttpProtocol, Scope
from ingest.server.wiring import build_pipeline
from ingest.settings import Settings
from ingest.telemetry.metrics import Metrics
from tests.unit.fakes import FakeHeaders, FakeProtocol, FakePublisher, FakeScope, FakeStore

TOKEN = "a-token-of-the-benchmarks"


class Database(FakeStore):
    """Keeps the last batch alone."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Batch | None = None

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        self.last = batch
        return False

    async def settle(self, first_ids: Sequence[int]) -> None:
        """Nothing is kept."""


class Broker(FakePublisher):
    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        """All is confirmed at once."""


class Request(FakeProtocol):
    """Head, body and answer as Granian gives and takes them, as cheap as may be; it can be made many times."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.scope = FakeScope(FakeHeaders({"x-api-token": TOKEN, "content-length": str(len(body))}))
        self.status = 0
        self._body = body

    async def __call__(self) -> bytes:
        return self._body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status


class Pipeline:
    """On a loop of its own, which stands still between the calls."""

    def __init__(self, metrics: Metrics) -> None:
        self.database = Database()
        self._loop = uvloop.new_event_loop()
        settings = Settings(api_tokens=(TOKEN,))
        pipeline = build_pipeline(settings, self.database, Broker(), metrics, worker_index=0)
        self.handler = EventHandler(pipeline.admission, pipeline.bodies, pipeline.batcher, settings.body_bytes_max)
        self._batcher, self._dispatcher = pipeline.batcher, pipeline.dispatcher
        self.run(self._start())

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        self._loop.run_until_complete(work)

    async def _start(self) -> None:
        self._batcher.use_ids(IdGenerator(1, unix_us))
        self._batcher.start()

    async def submit(self, events: Sequence[Event]) -> None:
        """From the batcher to the confirm; as many as one batch takes."""
        for event in events:
            outcome = self._batcher.submit(event)
        assert await outcome is None, "all are durable"

    def close(self) -> None:
        self.run(self._stop())
        self._loop.close()

    async def _stop(self) -> None:
        await self._batcher.close()
        await self._dispatcher.close()


async def at_once(priority: Callable[[Scope, HttpProtocol], Awaitable[None]], requests: Sequence[Request]) -> None:
    """Each in a task of its own, as Granian runs them."""

    async def answer(request: Request) -> None:
        await priority(request.scope, request)

    await asyncio.gather(*map(answer, requests))
