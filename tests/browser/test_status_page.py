"""The status page of a real service, in Chromium."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.looks import elements_without_name, faint_texts, overflow, tab_stops
from tests.commands import nowhere
from tests.faults.harness.load import Load
from tests.running import TOKEN, ServiceProcess
from tests.services import MySQLServer, mysql_server

LINKS = 6
LASTING = re.compile(r"\d\s(ms|s)\b")
"""A time. On a busy machine it may be seconds."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Two workers under a small load. Their broker is unreachable, so the page has a warning."""
    settings = {"WORKERS": "2", "BROKER_URL": nowhere("amqp", "%2F"), "API_TOKENS": TOKEN}
    with ServiceProcess(tmp_path_factory.mktemp("shown"), settings) as running, Load(running.port, 100):
        yield running


@pytest.fixture
def database_server() -> Iterator[MySQLServer]:
    """A server that the test may stop. Its name is not a fixture of `make test-mysql`, which has no browser."""
    with mysql_server() as server:
        yield server


@pytest.fixture
def url(service: ServiceProcess) -> str:
    return f"http://127.0.0.1:{service.port}/"


def row(page: Page, table: str, head: str) -> Locator:
    return page.locator(f"#{table} tr", has_text=head)


def test_page_shows_live_figures(open_page: OpenPage, url: str) -> None:
    page = open_page(url)

    expect(page.locator("#rate")).to_have_text(re.compile(r"^[1-9]\d"))
    expect(page.locator("#backlog")).to_have_text(re.compile(r"^[1-9][\d,]*$"))
    expect(row(page, "times", "Response")).to_contain_text(LASTING)
    before = page.locator("#about").inner_text()
    expect(page.locator("#about")).not_to_have_text(before)


def test_charts_are_drawn_and_described(open_page: OpenPage, url: str) -> None:
    page = open_page(url)

    for chart in "rate", "latency", "backlog":
        expect(page.locator(f"#{chart}-chart path.trace").first).to_be_attached()
        expect(page.locator(f"#{chart}-chart")).to_have_attribute("aria-label", re.compile("at most"))


def test_unreachable_broker_is_shown_with_its_reason(open_page: OpenPage, url: str) -> None:
    page = open_page(url)

    expect(page.locator("#state")).to_have_text("Accepting events, but a dependency is down")
    for name in "Database", "Locks", "Clock":
        expect(row(page, "health", name)).to_contain_text("✓ ok")
    expect(row(page, "health", "Broker")).to_contain_text(re.compile("refused", re.IGNORECASE))
    expect(page.locator("#errors tr").first).to_contain_text("warning")


def test_refusals_are_shown_by_reason(open_page: OpenPage, url: str, service: ServiceProcess) -> None:
    service.post(b"{")
    page = open_page(url)

    expect(page.locator("#refusals tr", has_text="malformed")).to_be_visible()


def test_client_with_refused_requests_is_shown_with_what_to_do(
    open_page: OpenPage, url: str, service: ServiceProcess
) -> None:
    service.request("POST", f"/in/asterisk/{TOKEN}", b"from_number=2", {})
    page = open_page(url)

    client = page.locator("#clients tr", has_text="/in/asterisk")
    expect(client).to_contain_text("127.0.0.1")
    expect(client).to_contain_text("call_id: The call id field is required.")
    expect(client).to_contain_text("Correct the client's configuration.")
    expect(client).not_to_contain_text(TOKEN)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(open_page: OpenPage, url: str, scheme: str) -> None:
    page = open_page(url, color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator("#state")).to_contain_text("Accepting events")

    assert faint_texts(page) == {}
    assert elements_without_name(page) == []
    expect(page.locator("a").nth(LINKS - 1)).to_be_visible()
    assert tab_stops(page, LINKS) == [True] * LINKS
    assert page.evaluate("getComputedStyle(document.querySelector('main')).transitionDuration") == "0s"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 24)"
    assert dark == (scheme == "dark")


def test_focus_stays_when_the_figures_beside_it_change(open_page: OpenPage, url: str) -> None:
    """Else a reader with a keyboard would start anew every two seconds."""
    page = open_page(url)
    page.get_by_role("link", name="What to do").first.focus()
    page.evaluate("document.activeElement.id = 'before'")
    expect(page.locator("#before")).to_have_count(0)

    assert page.evaluate("document.activeElement.textContent") == "What to do"


def test_page_fits_a_phone_screen(open_page: OpenPage, url: str) -> None:
    page = open_page(url, viewport={"width": 360, "height": 740})
    expect(page.locator("#times")).to_contain_text(LASTING)

    assert overflow(page) <= 0


def test_stopped_service_is_shown_and_so_is_its_return(
    open_page: OpenPage, tmp_path: Path, complaints: list[str]
) -> None:
    with ServiceProcess(tmp_path) as service, open_page(f"http://127.0.0.1:{service.port}/") as page:
        expect(page.locator("#state")).to_have_text("Accepting events")

        service.kill()
        expect(page.locator("#state")).to_have_text("The service does not respond")
        service.start()
        expect(page.locator("#state")).to_have_text("Accepting events")
    assert all("ERR_" in complaint for complaint in complaints)
    complaints.clear()  # the browser reports requests without an answer


def test_unreachable_database_is_shown(open_page: OpenPage, tmp_path: Path, database_server: MySQLServer) -> None:
    settings = {"DATABASE_URL": database_server.fresh_database(), "BROKER_URL": "embedded:"}
    with ServiceProcess(tmp_path, settings) as service, open_page(f"http://127.0.0.1:{service.port}/") as page:
        expect(page.locator("#health")).to_contain_text("✓ ok")

        database_server.stop()
        expect(page.locator("#health tr", has_text="Database")).to_contain_text("✕")
        expect(page.locator("#backlog")).to_have_text("unknown")


def test_charts_have_axes_of_values_and_times(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    for chart in "rate", "backlog":
        expect(page.locator(f"#{chart}-chart path.trace").first).to_be_attached()
        highest, middle, lowest = page.locator(f"#{chart}-values b").all_inner_texts()
        assert float(highest.replace(",", "")) == pytest.approx(2 * float(middle.replace(",", "")))
        assert lowest == "0"
        times = page.locator(f"#{chart}-times b").all_inner_texts()
        assert [bool(re.fullmatch(r"\d\d:\d\d(:\d\d)?", time)) for time in times] == [True] * 3


def test_failing_part_leads_to_its_runbook(open_page: OpenPage, url: str) -> None:
    page = open_page(url)

    page.locator("#health tr", has_text="Broker").get_by_role("link", name="What to do").click()

    expect(page.get_by_role("heading", name="CallEventsBrokerAway")).to_be_in_viewport()
    assert page.locator("h2:target").inner_text() == "CallEventsBrokerAway"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_runbooks_are_accessible_and_fit_a_phone_screen(open_page: OpenPage, url: str, scheme: str) -> None:
    page = open_page(f"{url}runbooks", color_scheme=scheme, viewport={"width": 390, "height": 740})

    assert faint_texts(page) == {}
    assert elements_without_name(page) == []
    assert overflow(page) <= 0
