"""The BlackSheep routes: health, metrics, the API description and the status page."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from blacksheep import Application, Content, Request, Response

from ingest.errors import MethodNotAllowed
from ingest.http.pages import DOCS, EVENTS, RUNBOOKS, STATUS, Page
from ingest.http.reading.api import Answer, ApiRequest, ReadingApi
from ingest.status.health import Health
from ingest.status.snapshot import Status

RouteHandler = Callable[[Request], Awaitable[Response]]
AskMetrics = Callable[[], Awaitable[bytes]]
AskStatus = Callable[[], Awaitable[Status]]

EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
HTML = b"text/html; charset=utf-8"
JSON = b"application/json"
PAGES_ALLOW = "GET, HEAD"

# All responses of this module have these headers. Responses to events omit them: no browser reads those.
PROTECTION = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
NO_PAGE = b"default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of JSON and text, in case a browser renders it as a page."""


def add_routes(
    application: Application,
    health: Health,
    ask_metrics: AskMetrics,
    ask_status: AskStatus,
    description: Mapping[str, Any],
    reading: ReadingApi,
) -> None:
    """Register all routes of a worker. `description` is the OpenAPI document."""
    _add(application, _probes(health, detailed=True) | _pages(ask_metrics, ask_status, description), reading)


def add_probes(application: Application, health: Health) -> None:
    """Register only the probes for a load balancer. They do not say why the service is not ready."""
    _add(application, _probes(health, detailed=False))


def _probes(health: Health, *, detailed: bool) -> dict[str, RouteHandler]:
    async def healthz(request: Request) -> Response:
        return _json(200, {"status": "alive"})

    async def readyz(request: Request) -> Response:
        report = health.report()
        return _json(200 if report.ready else 503, report if detailed else {"status": report.status})

    return {"/healthz": healthz, "/readyz": readyz}


def _pages(ask_metrics: AskMetrics, ask_status: AskStatus, description: Mapping[str, Any]) -> dict[str, RouteHandler]:
    async def metrics(request: Request) -> Response:
        return _response(200, EXPOSITION, await ask_metrics())

    async def openapi(request: Request) -> Response:
        return _json(200, description)

    async def docs(request: Request) -> Response:
        return _page(DOCS)

    async def figures(request: Request) -> Response:
        return _json(200, await ask_status())

    async def status(request: Request) -> Response:
        return _page(STATUS)

    async def what_to_do(request: Request) -> Response:
        return _page(RUNBOOKS)

    async def events(request: Request) -> Response:
        return _page(EVENTS)

    pages: dict[str, RouteHandler] = {"/docs": docs, "/runbooks": what_to_do, "/events": events, "/": status}
    return pages | {"/metrics": metrics, "/openapi.json": openapi, "/status.json": figures}


def _add(application: Application, handlers: Mapping[str, RouteHandler], reading: ReadingApi | None = None) -> None:
    for path, handler in handlers.items():
        application.router.add_get(path, handler)
        application.router.add_head(path, handler)
    hint = "; see /docs." if "/docs" in handlers else "."

    async def otherwise(request: Request) -> Response:
        if reading and reading.serves(request.scope["path"]):
            return _answered(await reading.answer(_api_request(request)))
        if request.scope["path"] in handlers:
            return _json(405, {"message": str(MethodNotAllowed(PAGES_ALLOW))}, (b"allow", PAGES_ALLOW.encode()))
        return _json(404, {"message": "Not found. Events go to POST /api/call-events" + hint})

    application.router.fallback = otherwise


def _api_request(request: Request) -> ApiRequest:
    scope = request.scope
    token = request.get_first_header(b"x-api-token")
    return ApiRequest(
        scope["method"],
        scope["path"],
        scope["query_string"].decode(errors="replace"),
        None if token is None else token.decode("latin-1"),
        scope["client"][0] if scope["client"] else "",
    )


def _answered(answer: Answer) -> Response:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    return _json(answer.status, answer.content, *headers)


def _page(page: Page) -> Response:
    return _response(200, HTML, page.body, page.policy)


def _json(status: int, content: Any, *headers: tuple[bytes, bytes]) -> Response:
    return _response(status, JSON, msgspec.json.encode(content), NO_PAGE, *headers)


def _response(
    status: int, kind: bytes, body: bytes, policy: bytes = NO_PAGE, *headers: tuple[bytes, bytes]
) -> Response:
    return Response(status, [*PROTECTION, (b"content-security-policy", policy), *headers], Content(kind, body))
