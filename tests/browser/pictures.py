"""`make pictures`: docs/*.png, screenshots of a service with real servers under load, in Chromium."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ingest.clock import unix_us
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.store import MySQLStore
from tests.browser.conftest import CHROMIUM
from tests.faults.harness.load import Load
from tests.faults.harness.scene import let_pass
from tests.paths import DOCS
from tests.running import EVENT, TOKEN, ServiceProcess
from tests.services import mysql_server, rabbitmq_server
from tests.unit.making import batch, event

EVENTS_PER_SECOND = 300.0
EVENT_FORM = "POST /api/call-events"
COLOURS = 128
OUTAGE_SECONDS = 12
QUIET_SECONDS = 40
"""Seconds before and after the outage, so that the charts show both."""


CALL = "7c1d9a30f2b4e8@pbx.example.com"
STEPS = {"call_started": 0, "call_answered": 6, "call_ended": 9}
"""The steps of a call on the page of events, and the seconds before each."""
DEAD = batch([event("b1946ac92492d2@pbx.example.com", "recording_ready")])
REASON = "RabbitMQ refuses the message: it is larger than its max_message_size (16 MiB)."


class Shown(NamedTuple):
    """A service, and a token that reads and operates."""

    url: str
    token: str


@contextmanager
def shown_service(folder: Path) -> Iterator[Shown]:
    """Yield a service after an outage of RabbitMQ, some wrong requests and a call. It has a dead letter."""
    with ExitStack() as stack:
        mysql, rabbitmq = stack.enter_context(mysql_server()), stack.enter_context(rabbitmq_server())
        settings = {"DATABASE_URL": mysql.fresh_database(), "BROKER_URL": rabbitmq.amqp_url, "WORKERS": "2"}
        service = stack.enter_context(ServiceProcess(folder, settings))
        stack.enter_context(Load(service.port, EVENTS_PER_SECOND))
        let_pass(QUIET_SECONDS)
        rabbitmq.stop()
        let_pass(OUTAGE_SECONDS)
        rabbitmq.start()
        service.post(b"{")
        service.request("POST", "/api/call-events", b"{}")
        service.wait_for_status("ready")
        make_call(service)
        asyncio.run(add_dead_letter(settings["DATABASE_URL"]))
        token = service.command("tokens", "create", "alice", "--scope", "read", "--scope", "operate").stdout.strip()
        let_pass(QUIET_SECONDS)
        yield Shown(f"http://127.0.0.1:{service.port}", token)


def make_call(service: ServiceProcess) -> None:
    for event_type, seconds in STEPS.items():
        let_pass(seconds)
        ended = {"duration": STEPS["call_ended"]} if event_type == "call_ended" else {}
        service.post({**EVENT, "call_id": CALL, "event_type": event_type, "queue": "support", **ended})


async def add_dead_letter(url: str) -> None:
    store = MySQLStore(
        Servers.parse(url),
        connections_max=1,
        connect_timeout_seconds=5.0,
        commit_timeout_seconds=5.0,
        now_us=unix_us,
    )
    await store.add_dead(DEAD, REASON)
    await store.close()


Scheme = Literal["light", "dark"]
LOOKS: dict[str, tuple[int, Scheme]] = {"light": (1000, "light"), "dark": (1000, "dark"), "phone": (390, "light")}
"""Width and colors of the pictures, by the end of their names."""


def opened(browser: Browser, url: str, width: int, height: int, scheme: Scheme) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(url)
    expect(page.get_by_role("status")).not_to_contain_text("…")
    return page


def take(browser: Browser, shown: Shown) -> None:
    url = shown.url
    for name, (width, scheme) in LOOKS.items():
        events = opened(browser, f"{url}/events", width, 1200, scheme)
        find_call(events, shown.token)
        keep(events, f"events-{name}.png")
        keep(opened(browser, url, width, 1200, scheme), f"status-{name}.png")
        page = opened(browser, f"{url}/docs", width, 1200, scheme)
        send_event(page)
        keep(page, "api.png" if name == "light" else f"api-{name}.png")


def find_call(page: Page, token: str) -> None:
    """Search a call and open its last step, as a reader does."""
    page.get_by_label("Token of scope read").fill(token)
    page.get_by_role("button", name="Use token").click()
    expect(page.locator("#dead")).to_contain_text("recording_ready")
    page.get_by_label("Call", exact=True).fill(CALL)
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#steps b")).to_have_count(len(STEPS))
    page.locator("#steps summary").last.click()
    expect(page.locator("#steps pre")).to_be_visible()


def send_event(page: Page) -> None:
    """Use the first form as a reader does."""
    page.get_by_label("Your token").fill(TOKEN)
    operation = page.get_by_role("region", name=EVENT_FORM, exact=True)
    operation.locator("summary", has_text="Try it").click()
    operation.get_by_role("button", name="Send").click()
    expect(operation.get_by_role("status")).to_contain_text("queued")
    page.get_by_role("region", name="Try it", exact=True).scroll_into_view_if_needed()


def keep(page: Page, name: str) -> None:
    """Write the screenshot with a palette: a third of the bytes, without a visible difference."""
    drawn = Image.open(BytesIO(page.screenshot())).convert("RGB")
    drawn.quantize(COLOURS, dither=Image.Dither.NONE).save(DOCS / name, optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, shown_service(Path(folder)) as shown, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        take(browser, shown)
        browser.close()


if __name__ == "__main__":
    main()
