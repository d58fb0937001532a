"""docs/runbooks.md as a dashboard: each section is a panel, and its number is the panel's id in an alert's link."""

import re
from pathlib import Path

from observability.dashboards.panels import Board, text

SOURCE = Path(__file__).resolve().parents[2] / "docs" / "runbooks.md"
_SECTION = re.compile(r"^## (\w+)\n+(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def sections() -> list[tuple[str, str]]:
    """Title and text of each section, in order. A title is an alert's name, or the common begin of several."""
    return [(title, content.strip()) for title, content in _SECTION.findall(SOURCE.read_text("utf-8"))]


def board() -> Board:
    made = Board("runbooks", "runbooks", "Instructions for each alert.")
    for title, content in sections():
        made.add(text(title, content), 12)
    return made
