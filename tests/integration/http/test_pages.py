"""Health, metrics, the API description and the pages."""

from html.parser import HTMLParser

import jsonschema
import pytest

from tests.raw_http import API, BATCH, ask, head, post
from tests.running import ServiceProcess
from tests.services import wait_until
from tests.unit.making import body

PAGES = {
    "/healthz": "application/json",
    "/readyz": "application/json",
    "/metrics": "text/plain; version=0.0.4; charset=utf-8",
    "/openapi.json": "application/json",
    "/status.json": "application/json",
    "/docs": "text/html; charset=utf-8",
    "/": "text/html; charset=utf-8",
}


@pytest.mark.parametrize("path", PAGES)
def test_get_and_head_have_the_same_headers(service: ServiceProcess, path: str) -> None:
    got = ask(service.port, head("GET", path), to="GET")
    only_head = ask(service.port, head("HEAD", path), to="HEAD")

    assert (got.status, only_head.status) == (200, 200)
    assert got.headers["content-type"] == only_head.headers["content-type"] == PAGES[path]
    assert only_head.body == b""
    assert len(got.body) == int(got.headers["content-length"])


SECONDS = 60.0
CHECKS = ("database", "broker", "ids", "locks", "backlog", "tables", "cluster", "clock", "commits")


def test_health_has_this_form(service: ServiceProcess) -> None:
    assert ask(service.port, head("GET", "/healthz")).body == b'{"status":"alive"}'
    ready = {"status": "ready", "checks": dict.fromkeys(CHECKS, "ok")}
    assert wait_until(lambda: ask(service.port, head("GET", "/readyz")).json == ready, SECONDS)


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_pages_load_no_external_resources(service: ServiceProcess, path: str) -> None:
    links: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value or "" for name, value in attrs if name in ("src", "href"))

    page = ask(service.port, head("GET", path)).body.decode()
    Links().feed(page)

    assert page.lower().startswith("<!doctype html>")
    assert [link for link in links if not link.startswith("/")] == []
    assert "://" not in page
    assert all(ask(service.port, head("GET", link)).status == 200 for link in links)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize("path", PAGES)
def test_pages_allow_only_get_and_head(service: ServiceProcess, method: str, path: str) -> None:
    reply = ask(service.port, head(method, path))

    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert reply.json == {"message": "This path does not allow the method."}


@pytest.mark.parametrize(
    ("path", "text", "status"),
    [
        (API, body(), "200"),
        (API, body(duration=-1), "422"),
        (API, b"{", "400"),
        (API, body(), "401"),
        (BATCH, body() + b"\n{", "200"),
        (BATCH, b"{}", "422"),
        (BATCH, b"", "400"),
    ],
)
def test_responses_match_their_schemas(service: ServiceProcess, path: str, text: bytes, status: str) -> None:
    described = ask(service.port, head("GET", "/openapi.json")).json["paths"][path]["post"]["responses"][status]

    reply = ask(service.port, post(text, path=path, token="wrong") if status == "401" else post(text, path=path))

    assert str(reply.status) == status
    jsonschema.validate(reply.json, described["content"]["application/json"]["schema"])
