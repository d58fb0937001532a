"""Debian's Chromium, driven by Playwright, which emulates colors, motion and sizes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

OpenPage = Callable[..., Page]

CHROMIUM = "/usr/bin/chromium"
SHOWN_MS = 60_000
"""Patience of `expect` with a busy machine."""
expect.set_options(timeout=SHOWN_MS)


@pytest.fixture(scope="module")  # Playwright's event loop disturbs tests that have their own
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """The browser's errors, warnings and violations of the content policy. `open_page` requires that there are none."""
    return []


@pytest.fixture
def open_page(browser: Browser, complaints: list[str]) -> Iterator[OpenPage]:
    """`open_page(url, color_scheme="dark")` opens a page in its own context.

    Pages must be closed (`with`) before their service stops, as the browser would report their failed requests.
    """
    contexts = []

    def open_page(url: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
