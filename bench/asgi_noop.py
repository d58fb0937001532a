"""The least that a POST can cost on this server: an ASGI application that reads the body and answers.

`python -m bench.asgi_noop PORT WORKERS` serves it with the options of `ingest serve`. It looks at nothing,
and calls `receive` once: a body as small as an event's is whole then.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from ingest.answers import QUEUED
from ingest.server import KEEP_ALIVE_SECONDS
from ingest.settings import Settings

Message = dict[str, Any]

_START, _BODY = QUEUED.start, QUEUED.body


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    await receive()
    await send(_START)
    await send(_BODY)


def serve(port: int, workers: int) -> None:
    settings = Settings()
    Granian(
        "bench.asgi_noop:application",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        workers=workers,
        loop=Loops.uvloop,
        http=HTTPModes.auto,
        websockets=False,
        backpressure=settings.connections_max,
        http1_settings=HTTP1Settings(header_read_timeout=KEEP_ALIVE_SECONDS * 1000),
        log_level=LogLevels.warning,
    ).serve()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
