"""`make pictures`: docs/*.png, screenshots of a service with real servers under load, in Chromium."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import CHROMIUM
from tests.faults.harness.load import Load
from tests.faults.harness.scene import let_pass
from tests.paths import DOCS
from tests.running import TOKEN, ServiceProcess
from tests.services import mysql_server, rabbitmq_server

EVENTS_PER_SECOND = 300.0
EVENT_FORM = "POST /api/call-events"
COLOURS = 128
OUTAGE_SECONDS = 12
QUIET_SECONDS = 40
"""Seconds before and after the outage, so that the charts show both."""


@contextmanager
def shown_service(folder: Path) -> Iterator[str]:
    """Yield the URL of a service after an outage of RabbitMQ and some wrong requests."""
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
        let_pass(QUIET_SECONDS)
        yield f"http://127.0.0.1:{service.port}"


Scheme = Literal["light", "dark"]
LOOKS: dict[str, tuple[int, Scheme]] = {"light": (1000, "light"), "dark": (1000, "dark"), "phone": (390, "light")}
"""Width and colors of the pictures, by the end of their names."""


def opened(browser: Browser, url: str, width: int, height: int, scheme: Scheme) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(url)
    expect(page.get_by_role("status")).not_to_contain_text("…")
    return page


def take(browser: Browser, url: str) -> None:
    for name, (width, scheme) in LOOKS.items():
        keep(opened(browser, url, width, 1200, scheme), f"status-{name}.png")
        page = opened(browser, f"{url}/docs", width, 1200, scheme)
        send_event(page)
        keep(page, "api.png" if name == "light" else f"api-{name}.png")


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
    with tempfile.TemporaryDirectory() as folder, shown_service(Path(folder)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        take(browser, url)
        browser.close()


if __name__ == "__main__":
    main()
