"""Where the tests find the repository's other files, wherever a test itself lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
