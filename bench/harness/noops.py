"""The least that a POST can cost on this server: three no-ops read the body, and send a constant answer.

`python -m bench.harness.noops KIND PORT WORKERS` serves one of them with the options of `ingest serve`: bare ASGI,
bare RSGI, or a handler of a BlackSheep application. They ignore the body.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from blacksheep import Application, Content, Request, Response
from granian.constants import Interfaces

from ingest.http.event_handler import PATH
from ingest.http.responses import QUEUED
from ingest.http.rsgi import HttpProtocol, Scope
from ingest.server.granian import make_server
from ingest.settings import Settings

Kind = Literal["asgi", "rsgi", "blacksheep"]
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


def serve(kind: Kind, port: int, workers: int) -> None:
    settings = Settings(host="127.0.0.1", port=port, workers=workers, log_level="warning")
    target, interface = {
        "asgi": ("asgi", Interfaces.ASGINL),
        "rsgi": ("rsgi", Interfaces.RSGI),
        "blacksheep": ("make_blacksheep", Interfaces.ASGI),
    }[kind]
    make_server(f"bench.harness.noops:{target}", settings, interface, factory=kind == "blacksheep").serve()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))  # type: ignore[arg-type] # a KeyError tells
