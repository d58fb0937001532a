"""Reads the fenced blocks of the documents."""

import subprocess
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from markdown_it import MarkdownIt

from tests.paths import ROOT

HISTORY = ("CHANGELOG.md",)


class Block(NamedTuple):
    """A fenced block. `document` is the path below the repository's root, `line` the number of its fence."""

    document: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """The first line, which names the block in its document."""
        return next((line.strip() for line in self.text.splitlines() if line.strip()), "")


def documents() -> list[str]:
    """Paths of the Markdown files that git knows or will know."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return sorted({name for name in listed if (ROOT / name).is_file() and name not in HISTORY})


def blocks_of(document: str, text: str) -> Iterator[Block]:
    """Yield the fenced blocks, also those in lists. An indented block counts, with no language."""
    for token in MarkdownIt().parse(text):
        if token.type in ("fence", "code_block"):
            yield Block(document, (token.map or [0])[0] + 1, token.info.strip(), token.content)


@cache
def blocks() -> tuple[Block, ...]:
    """Return all blocks of all documents."""
    return tuple(block for name in documents() for block in blocks_of(name, (ROOT / name).read_text("utf-8")))


def block(document: str, start: str) -> Block:
    """Return the one block of the document whose first line begins so."""
    (found,) = [one for one in blocks() if one.document == document and one.first.startswith(start)]
    return found


@cache
def inline_code() -> tuple[tuple[str, str], ...]:
    """Return document and text of each piece of code in the prose and the tables of all documents, once."""
    reader = MarkdownIt().enable("table")
    tokens = ((name, token) for name in documents() for token in reader.parse((ROOT / name).read_text("utf-8")))
    found = ((name, part) for name, token in tokens for part in token.children or () if part.type == "code_inline")
    return tuple(dict.fromkeys((name, part.content) for name, part in found))
