"""The page of events of a real service, in Chromium. Some of its events try to run scripts in the page."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ingest.clock import unix_us
from ingest.store.sqlite.store import SQLiteStore
from tests.browser.conftest import OpenPage
from tests.browser.looks import elements_without_name, faint_texts, overflow, tab_stops
from tests.running import EVENT, ServiceProcess
from tests.unit.making import batch, event

HOSTILE = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>\'"`;--'
CALL = "call-1"
DEAD = batch([event(HOSTILE, HOSTILE[:64])])
RETRIED = batch([event("retried")], us=1_738_331_200_000_000)


class Shown:
    """A service with events of three calls and two dead letters, and tokens of its readers."""

    def __init__(self, service: ServiceProcess, folder: Path) -> None:
        self.service = service
        self.url = f"http://127.0.0.1:{service.port}/events"
        for kind in "call_started", "call_answered":
            service.post({**EVENT, "call_id": CALL, "event_type": kind})
        service.post({**EVENT, "call_id": HOSTILE, "event_type": HOSTILE[:64], "notes": HOSTILE, HOSTILE: HOSTILE})
        service.post(b"{")
        with ThreadPoolExecutor(1) as pool:  # Playwright has an event loop in this thread
            pool.submit(asyncio.run, self._bury(folder / "events.db")).result()
        self.reader = self._token("alice", "read")
        self.operator = self._token("bob", "read", "operate")

    async def _bury(self, database: Path) -> None:
        store = SQLiteStore(database, 10.0, unix_us)
        for dead in DEAD, RETRIED:
            await store.add_dead(dead, HOSTILE)
        await store.close()

    def _token(self, name: str, *scopes: str) -> str:
        words = [word for scope in scopes for word in ("--scope", scope)]
        return self.service.command("tokens", "create", name, *words).stdout.strip()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("events")
    with ServiceProcess(folder, {"WORKERS": "2"}) as running:
        yield Shown(running, folder)


def signed_in(page: Page, token: str) -> Page:
    page.get_by_label("Token of scope read").fill(token)
    page.get_by_role("button", name="Use token").click()
    expect(page.get_by_role("status")).to_contain_text("event")
    return page


def search(page: Page, call: str) -> None:
    page.get_by_label("Call", exact=True).fill(call)
    page.get_by_role("button", name="Search").click()


def test_call_is_shown_step_by_step_with_gaps_and_payload(open_page: OpenPage, shown: Shown) -> None:
    page = signed_in(open_page(shown.url), shown.operator)

    search(page, CALL)

    expect(page.locator("#steps b")).to_have_text(["call_started", "call_answered"])
    expect(page.locator("#steps .gap")).to_have_text(re.compile(r"^[\d.]+ (ms|s) later$"))
    page.locator("#steps summary").first.click()
    expect(page.locator("#steps pre").first).to_contain_text('"call_started"')
    expect(page.locator("#steps pre").first).to_contain_text('"***01"')
    expect(page.locator("#steps")).not_to_contain_text("15551230001")


def test_address_keeps_the_search_and_the_tab_keeps_the_token(open_page: OpenPage, shown: Shown) -> None:
    page = signed_in(open_page(shown.url), shown.operator)
    search(page, CALL)
    expect(page.locator("#steps b")).to_have_count(2)

    page.reload()

    expect(page.locator("#steps b")).to_have_count(2)
    page.get_by_role("button", name="Forget token").click()
    expect(page.get_by_role("status")).to_contain_text("Give a token first")
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0


def test_hostile_event_runs_no_script(open_page: OpenPage, shown: Shown) -> None:
    page = signed_in(open_page(shown.url), shown.operator)
    expect(page.locator("#dead")).to_contain_text(HOSTILE)

    search(page, HOSTILE)
    expect(page.locator("#steps b")).to_have_text([HOSTILE[:64]])
    page.locator("#steps summary").click()
    expect(page.locator("#steps pre")).to_contain_text("window.ran=1")

    assert page.evaluate("window.ran") is None
    assert page.locator("img, script").count() == 1  # the page's own script


def test_wrong_token_and_missing_scope_are_told(open_page: OpenPage, shown: Shown, complaints: list[str]) -> None:
    page = open_page(shown.url)
    page.get_by_label("Token of scope read").fill("wrong")
    page.get_by_role("button", name="Use token").click()
    expect(page.get_by_role("status")).to_contain_text("Unauthenticated")

    signed_in(page, shown.reader)

    expect(page.locator("#dead")).to_contain_text("does not have the scope operate")
    assert all(re.search("40[13]", complaint) for complaint in complaints)
    complaints.clear()  # the browser reports refused requests


def test_event_is_resent_and_dead_letters_are_retried_and_dropped(open_page: OpenPage, shown: Shown) -> None:
    page = signed_in(open_page(shown.url), shown.operator)
    page.on("dialog", lambda dialog: dialog.accept())
    search(page, CALL)
    expect(page.locator("#steps b")).to_have_count(2)
    page.locator("#steps summary").first.click()

    page.get_by_role("button", name="Resend").click()
    expect(page.get_by_role("status")).to_contain_text("outbox")
    page.get_by_role("button", name=f"Retry {RETRIED.first_id}").click()
    expect(page.get_by_role("status")).to_have_text(f"Dead letter {RETRIED.first_id} is in the outbox again.")
    page.get_by_role("button", name=f"Drop {DEAD.first_id}").click()
    expect(page.locator("#dead")).to_have_text("None")

    trail = shown.service.command("audit").stdout
    assert "token:bob  127.0.0.1  dead.retry" in trail
    assert "token:bob  127.0.0.1  dead.drop" in trail


def test_refused_requests_are_shown_with_the_client(open_page: OpenPage, shown: Shown) -> None:
    page = signed_in(open_page(shown.url), shown.operator)

    expect(page.locator("#refused")).to_contain_text("127.0.0.1, /api/call-events")
    expect(page.locator("#refused")).to_contain_text("malformed")
    expect(page.locator("#refused-title")).to_contain_text("last 6 hours")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(open_page: OpenPage, shown: Shown, scheme: str, complaints: list[str]) -> None:
    page = signed_in(open_page(shown.url, color_scheme=scheme), shown.operator)
    page.locator("#steps summary").first.click()
    expect(page.locator("#steps pre").first).to_be_visible()

    assert faint_texts(page) == {}
    assert elements_without_name(page) == []
    page.locator("body").click(position={"x": 1, "y": 1})
    assert tab_stops(page, 8) == [True] * 8
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 24)"
    assert dark == (scheme == "dark")


def test_page_fits_a_phone_screen(open_page: OpenPage, shown: Shown) -> None:
    page = signed_in(open_page(shown.url, viewport={"width": 390, "height": 740}), shown.operator)
    page.locator("#steps summary").first.click()
    expect(page.locator("#steps pre").first).to_be_visible()

    assert overflow(page) <= 0
