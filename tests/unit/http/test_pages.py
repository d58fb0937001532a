import base64
import hashlib
import re

import pytest

from ingest.http.pages import DOCS, EVENTS, STATUS, Page

pages = pytest.mark.parametrize("page", [DOCS, EVENTS, STATUS], ids=["docs", "events", "status"])


def directives(page: Page) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in page.policy.decode().split(";"))
    return {name: sources for name, _, sources in parts}


@pages
@pytest.mark.parametrize("element", ["script", "style"])
def test_only_the_pages_own_scripts_and_styles_are_allowed(page: Page, element: str) -> None:
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", page.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

    assert directives(page)[f"{element}-src"] == f"'sha256-{digest}'"


@pages
def test_everything_else_is_forbidden(page: Page) -> None:
    policy = directives(page)

    assert policy.pop("connect-src") == "'self'"
    assert {name: sources for name, sources in policy.items() if sources != "'none'"}.keys() == {
        "script-src",
        "style-src",
    }
    assert {"default-src", "base-uri", "form-action", "frame-ancestors"} <= policy.keys()
    assert "unsafe" not in page.policy.decode()


@pages
def test_page_needs_nothing_that_its_policy_forbids(page: Page) -> None:
    html = page.body.decode()

    assert not re.findall(r"\s(?:on\w+|style|src)=", html)
    assert not re.findall(r"https?://", html)
    assert "innerHTML" not in html
