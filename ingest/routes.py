"""All HTTP but the hot lanes, on BlackSheep: health, metrics, the API's description, a status page."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from blacksheep import Application, Content, Request, Response

from ingest.errors import MethodNotAllowed
from ingest.health import Health
from ingest.openapi import document
from ingest.pages import DOCS, STATUS

EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
HTML = b"text/html; charset=utf-8"
PAGES_ALLOW = "GET, HEAD"


def add_routes(application: Application, health: Health, exposition: Callable[[], bytes]) -> None:
    """Register the handlers. `exposition` makes the metrics' text; it reads files, so a thread runs it."""

    async def healthz(request: Request) -> Response:
        return _json(200, {"status": "alive"})

    async def readyz(request: Request) -> Response:
        report = health.report()
        return _json(200 if report.ready else 503, report)

    async def metrics(request: Request) -> Response:
        text = await asyncio.to_thread(exposition)
        return Response(200, None, Content(EXPOSITION, text))

    async def openapi(request: Request) -> Response:
        return _json(200, document())

    async def docs(request: Request) -> Response:
        return Response(200, None, Content(HTML, DOCS))

    async def status(request: Request) -> Response:
        return Response(200, None, Content(HTML, STATUS))

    handlers: dict[str, Any] = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": metrics,
        "/openapi.json": openapi,
        "/docs": docs,
        "/": status,
    }
    for path, handler in handlers.items():
        application.router.add_get(path, handler)
        application.router.add_head(path, handler)

    async def otherwise(request: Request) -> Response:
        if request.scope["path"] in handlers:
            return _json(405, {"message": str(MethodNotAllowed(PAGES_ALLOW))}, (b"allow", PAGES_ALLOW.encode()))
        return _json(404, {"message": "Not found. Events go to POST /api/call-events; see /docs."})

    application.router.fallback = otherwise


def _json(status: int, content: Any, *headers: tuple[bytes, bytes]) -> Response:
    return Response(status, list(headers), Content(b"application/json", msgspec.json.encode(content)))
