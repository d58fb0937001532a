"""The API's reference, in Chromium."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from ingest.http import openapi
from ingest.sources.form import all_forms
from tests.browser.conftest import OpenPage
from tests.browser.looks import elements_without_name, faint_texts, overflow, tab_stops
from tests.running import TOKEN, ServiceProcess
from tests.services import free_port

OF_STATUS = "Status"
"""The schema of /status.json, which the others after it are parts of."""


def document() -> dict[str, Any]:
    return openapi.document(tuple(all_forms("")))


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

    usual, of_status = (page.locator(f"#{menu} li").all_inner_texts() for menu in ("schemas", "status-schemas"))
    schemas = [f"Schema {name}" for name in [*usual, *of_status]]
    assert labels == ["Try it", *(f"{method} {path}" for method, path in OPERATIONS), *schemas]
    assert sorted([*usual, *of_status]) == sorted(document()["components"]["schemas"])
    assert {"CallEvent", "Report", "EventList", "RefusedClient"} <= set(usual)
    assert of_status[0] == OF_STATUS


def test_patterns_are_for_programs_only(open_page: OpenPage, url: str) -> None:
    page = shown(open_page, url)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")

    patterns = re.findall(r'"pattern": ("(?:[^"\\\\]|\\\\.)*")', json.dumps(document()))
    assert patterns
    assert [one for one in map(json.loads, patterns) if one in page.locator("main").inner_text()] == []


def test_operations_are_shown_with_all_their_answers(open_page: OpenPage, url: str) -> None:
    page = shown(open_page, url)

    for method, path in OPERATIONS:
        section = page.get_by_role("region", name=f"{method} {path}", exact=True)
        described = document()["paths"][path][method.lower()]["responses"]
        assert section.locator("summary b").all_inner_texts() == list(described)


def test_curl_example_names_this_service_and_can_be_copied(open_page: OpenPage, url: str) -> None:
    page = shown(open_page, url, permissions=["clipboard-read", "clipboard-write"])

    page.get_by_role("button", name="Copy: curl for POST /api/call-events", exact=True).click()

    (sample,) = document()["paths"]["/api/call-events"]["post"]["x-codeSamples"]
    expected = sample["source"].replace("http://localhost:8000", url.removesuffix("/docs"))
    page.bring_to_front()
    page.wait_for_function("async text => await navigator.clipboard.readText() === text", arg=expected)


class Form:
    """The form of an operation, with a token."""

    def __init__(self, page: Page, title: str, token: str) -> None:
        self._section = page.get_by_role("region", name=title, exact=True)
        page.get_by_label("Your token").fill(token)
        self._section.locator("summary", has_text="Try it").click()

    def send(self, body: str | None = None, **choices: str) -> str:
        """Choose and fill in. Return the response that the page shows."""
        for label, choice in choices.items():
            self._section.get_by_label(label.replace("_", " ")).select_option(choice)
        if body is not None:
            self._section.get_by_label("Body").fill(body)
        self._section.get_by_role("button", name="Send").click()
        shown = self._section.get_by_role("status")
        expect(shown).not_to_be_empty()
        return shown.inner_text()


def test_reader_sends_an_event_with_the_own_token(open_page: OpenPage, url: str, service: ServiceProcess) -> None:
    page = shown(open_page, url)

    answer = Form(page, "POST /api/call-events", TOKEN).send()

    assert answer.startswith("200 after ")
    assert '"status": "queued"' in answer
    assert "a84b4c76e66710" in service.command("tail", "--limit", "1").stdout


def test_reader_sends_a_batch_in_either_format(open_page: OpenPage, url: str) -> None:
    form = Form(shown(open_page, url), "POST /api/call-events/batch", TOKEN)

    assert '"accepted": 1' in form.send(Format="application/x-ndjson")


def test_reader_sends_what_a_telephony_server_sends(open_page: OpenPage, url: str) -> None:
    form = Form(shown(open_page, url), "POST /in/{source}", TOKEN)

    assert form.send(Format="application/x-www-form-urlencoded").startswith("200 after ")


def test_event_that_the_service_refuses_is_explained(open_page: OpenPage, url: str, complaints: list[str]) -> None:
    page = shown(open_page, url)

    assert "The call id field is required." in Form(page, "POST /api/call-events", TOKEN).send("{}")
    complaints.clear()  # the browser reports each response of 4xx


def test_wrong_token_is_told(open_page: OpenPage, url: str, complaints: list[str]) -> None:
    page = shown(open_page, url)

    assert Form(page, "POST /api/call-events", "wrong").send().startswith("401 after ")
    complaints.clear()


def test_pages_of_an_admin_address_name_the_address_of_events(open_page: OpenPage, tmp_path: Path) -> None:
    admin = free_port()
    service = ServiceProcess(tmp_path, {"ADMIN_PORT": str(admin)})
    with service, shown(open_page, f"http://127.0.0.1:{admin}/docs") as page:
        events = f"http://127.0.0.1:{service.port}"
        expect(page.get_by_role("region", name="Try it")).to_contain_text(events)
        expect(page.get_by_label("curl for POST /api/call-events", exact=True)).to_contain_text(events)
        expect(page.locator("form")).to_have_count(0)


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
