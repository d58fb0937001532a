"""Debian's Chromium, driven by Playwright: it emulates colours, motion and sizes, and needs no further driver."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

OpenPage = Callable[..., Page]

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")  # its loop is in the way of tests that have one of their own
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser has to say of the pages: errors, warnings, breaches of their policy. None, says `open_page`."""
    return []


@pytest.fixture
def open_page(browser: Browser, complaints: list[str]) -> Iterator[OpenPage]:
    """`open_page(url, color_scheme="dark")`: a page in a context of its own.

    `with` closes it, before its service stops: it would ask once more, and the browser complain.
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
