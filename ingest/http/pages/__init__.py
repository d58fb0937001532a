"""The HTML pages. They need no build step and load no other resources; their policy forbids it."""

import base64
import hashlib
import re
from importlib.resources import files

import msgspec

from ingest.http.pages.runbooks import as_html, runbooks


class Page(msgspec.Struct, frozen=True):
    """`policy` is the value of the Content-Security-Policy header."""

    body: bytes
    policy: bytes


def _read(name: str) -> str:
    return (files(__name__) / name).read_text("utf-8")


def _page(html: str) -> Page:
    """The policy allows only the page's own scripts and styles, by their hashes, and connections to this service."""
    policy = (
        f"default-src 'none'; script-src {_hashes('script', html)}; style-src {_hashes('style', html)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy.encode())


def _hashes(element: str, html: str) -> str:
    contents = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


STATUS = _page(_read("status.html"))
EVENTS = _page(_read("events.html"))
DOCS = _page(_read("docs.html"))
RUNBOOKS = _page(_read("runbooks.html").replace("<!-- runbooks -->", as_html(runbooks())))
