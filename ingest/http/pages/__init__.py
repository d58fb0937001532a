"""The two pages, whole in themselves: no build step, no outside resource, and a policy that lets in nothing else."""

import base64
import hashlib
import re
from importlib.resources import files

import msgspec


class Page(msgspec.Struct, frozen=True):
    """`policy` is its Content-Security-Policy."""

    body: bytes
    policy: bytes


def _page(name: str) -> Page:
    """Of scripts and styles only those that stand in it, by their hashes; they may ask this service only."""
    html = (files(__name__) / name).read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src {_hashes('script', html)}; style-src {_hashes('style', html)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy.encode())


def _hashes(element: str, html: str) -> str:
    contents = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests)


STATUS = _page("status.html")
DOCS = _page("docs.html")
