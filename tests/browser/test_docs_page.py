"""The API's reference, in Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ingest.http.openapi import document
from tests.browser.conftest import OpenPage
from tests.browser.looks import elements_without_name, faint_texts, overflow, tab_stops
from tests.running import ServiceProcess

OPERATIONS = [(method.upper(), path) for path, methods in document()["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(Path(tmp_path_factory.mktemp("described"))) as running:
        yield running


@pytest.fixture
def url(service: ServiceProcess) -> str:
    return f"http://127.0.0.1:{service.port}/docs"


def shown(open_page: OpenPage, url: str, **options: object) -> Page:
    page = open_page(url, **options)
    expect(page.locator("main section").first).to_be_visible()
    return page


def test_every_operation_and_schema_is_shown(open_page: OpenPage, url: str) -> None:
    page = shown(open_page, url)
    labels = [section.get_attribute("aria-label") for section in page.locator("main > section").all()]

    schemas = [f"Schema {name}" for name in document()["components"]["schemas"]]
    assert labels == [f"{method} {path}" for method, path in OPERATIONS] + schemas


def test_operations_are_shown_with_all_their_answers(open_page: OpenPage, url: str) -> None:
    page = shown(open_page, url)

    for method, path in OPERATIONS:
        section = page.get_by_role("region", name=f"{method} {path}", exact=True)
        described = document()["paths"][path][method.lower()]["responses"]
        assert section.locator("summary b").all_inner_texts() == list(described)


def test_curl_example_names_this_service_and_can_be_copied(open_page: OpenPage, url: str) -> None:
    page = shown(open_page, url, permissions=["clipboard-read", "clipboard-write"])

    page.get_by_role("button", name="Copy: curl for POST /api/call-events", exact=True).click()

    copied = page.evaluate("navigator.clipboard.readText()")
    (sample,) = document()["paths"]["/api/call-events"]["post"]["x-codeSamples"]
    assert copied == sample["source"].replace("http://localhost:8000", url.removesuffix("/docs"))


def test_reference_leads_to_its_schema(open_page: OpenPage, url: str) -> None:
    page = shown(open_page, url)

    page.get_by_role("link", name="CallEvent").last.click()

    expect(page.get_by_role("region", name="Schema CallEvent", exact=True)).to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(open_page: OpenPage, url: str, scheme: str) -> None:
    page = shown(open_page, url, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")

    assert faint_texts(page) == {}
    assert elements_without_name(page) == []
    assert tab_stops(page, 30) == [True] * 30


def test_page_fits_a_phone_screen(open_page: OpenPage, url: str) -> None:
    page = shown(open_page, url, viewport={"width": 360, "height": 740})
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")

    assert overflow(page) <= 0
