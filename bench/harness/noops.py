"""The least that a POST can cost on a server: no-ops read the body, and send a constant answer.

`python -m bench.harness.noops KIND PORT WORKERS` serves one of them. Bare ASGI, bare RSGI, and a handler of a
BlackSheep application run on Granian with the options of `ingest serve`. `httptools` is a bare uvloop transport with
the parser of the direct listener. They ignore the body.
"""

import asyncio
import multiprocessing
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

import uvloop
from blacksheep import Application, Content, Request, Response
from granian.constants import Interfaces
from httptools import HttpRequestParser

from ingest.http.event_handler import PATH
from ingest.http.responses import QUEUED
from ingest.http.rsgi import HttpProtocol, Scope
from ingest.server.granian import make_server
from ingest.settings import Settings

Kind = Literal["asgi", "rsgi", "blacksheep", "httptools"]
Message = dict[str, Any]

JSON = b"application/json"
START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", JSON)]}
BODY: Message = {"type": "http.response.body", "body": QUEUED.body}


async def asgi(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer one request. A single `receive` is enough, as the body of an event fits into one message."""
    await receive()
    await send(START)
    await send(BODY)


async def rsgi(scope: Scope, protocol: HttpProtocol) -> None:
    await protocol()
    QUEUED.send(protocol)


def make_blacksheep() -> Application:
    application = Application()

    @application.router.post(PATH)
    async def answer(request: Request) -> Response:
        await request.read()
        return Response(200, content=Content(JSON, QUEUED.body))

    return application


class Bare(asyncio.Protocol):
    """Answers each complete request of one connection."""

    ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        JSON,
        len(QUEUED.body),
        QUEUED.body,
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(self.ANSWER)


def serve_bare(port: int, workers: int) -> None:
    """Serve `Bare` in child processes, which share the port, as Granian's workers are children."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        await (await loop.create_server(Bare, "127.0.0.1", port, reuse_port=True)).serve_forever()

    def run_forever() -> None:
        uvloop.run(run())

    children = [multiprocessing.Process(target=run_forever, daemon=True) for _ in range(workers)]
    for child in children:
        child.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # ends the children, too
    for child in children:
        child.join()


def serve(kind: Kind, port: int, workers: int) -> None:
    if kind == "httptools":
        serve_bare(port, workers)
        return
    settings = Settings(host="127.0.0.1", port=port, workers=workers, log_level="warning")
    target, interface = {
        "asgi": ("asgi", Interfaces.ASGINL),
        "rsgi": ("rsgi", Interfaces.RSGI),
        "blacksheep": ("make_blacksheep", Interfaces.ASGI),
    }[kind]
    make_server(f"bench.harness.noops:{target}", settings, interface, factory=kind == "blacksheep").serve()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))  # type: ignore[arg-type] # a KeyError tells
