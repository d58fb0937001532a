"""docs/runbooks.md as a dashboard: each section is a panel, and its number is the panel's id in an alert's link."""

from observability.dashboards.panels import Board, text
from observability.dashboards.sections import sections


def board() -> Board:
    made = Board("runbooks", "runbooks", "Instructions for each alert.", [])
    for title, content in sections():
        made.add(text(title, content), 12)
    return made
