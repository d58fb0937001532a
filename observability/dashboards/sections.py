"""The sections of docs/runbooks.md, which panels link to and the board of runbooks shows."""

import re
from functools import cache
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

SOURCE = Path(__file__).resolve().parents[2] / "docs" / "runbooks.md"
BOARD = "/d/call-events-runbooks"
"""The path of the board of runbooks, in any Grafana."""
_SECTION = re.compile(r"^## (\w+)\n+(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ALERT = re.compile(r"\b(?:CallEvents|RabbitMQ|MySQL)[A-Z]\w+")


@cache
def sections() -> list[tuple[str, str]]:
    """Title and text of each section, in order. A title is an alert's name, or the common begin of several."""
    return [(title, content.strip()) for title, content in _SECTION.findall(SOURCE.read_text("utf-8"))]


def links(description: str) -> list[dashboard.DashboardLink]:
    """Return a link to the runbook of each alert that the description names, each once."""
    titles = [title for title, _ in sections()]
    named = {next(one for one in titles if alert.startswith(one)) for alert in _ALERT.findall(description)}
    return [_link(title, titles.index(title) + 1) for title in titles if title in named]


def _link(title: str, panel: int) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(f"Runbook: {title}").type(DashboardLinkType.LINK)
    return link.url(f"{BOARD}?viewPanel={panel}")
