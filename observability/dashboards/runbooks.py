"""docs/runbooks.md as a dashboard, so that an alert's link leads somewhere: a panel a section, its number the id."""

import re
from pathlib import Path

from observability.dashboards.panels import Board, text

SOURCE = Path(__file__).resolve().parents[2] / "docs" / "runbooks.md"
_SECTION = re.compile(r"^## (\w+)\n+(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def sections() -> list[tuple[str, str]]:
    """Title (an alert's name, or what several begin with) and text of each, in their order."""
    return [(title, content.strip()) for title, content in _SECTION.findall(SOURCE.read_text("utf-8"))]


def board() -> Board:
    made = Board("runbooks", "runbooks", "What to do about each alert.")
    for title, content in sections():
        made.add(text(title, content), 12)
    return made
