"""Checks the English of docs, docstrings and comments: length of sentences, their openings, and banned phrases.

`python .ci/plain_english.py` lists each finding and exits with 1 if there is one. `--count` prints only numbers. Paths
as arguments limit the check to these files and folders. CONTRIBUTING.md has the rules in words.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

WORDS_MAX = 25
"""The limit of a sentence. Code in backticks counts as one word."""
LINE_CHARS_MAX = 120
"""In a Markdown line, tables and links aside."""
CHECKED = ("*.md", "ingest/*.py", "bench/*.py", "tests/*.py", "observability/*.py", ".ci/*.py", "docs/*.py")
EXEMPT = ("CHANGELOG.md", "docs/az/README.md")
"""Old entries are history. The other document is not in English."""

OPENINGS = re.compile(r"(Of|Without|Whoever|Whatever|Who|Whose|What|Whether) (?!.*\?$)")
"""At the begin of a statement; a question may begin so."""
ADVERBIAL = re.compile(r"(In|With|By|For|As|At|On|From|To|Until|While|Where|If|Also|Among|Beside) ")
PHRASES = re.compile(
    r"\b(so (many|long)|in vain|thereof|as it were|nor who|of one mind|told of|none is)\b", re.IGNORECASE
)
VERB = re.compile(
    r"\b(is|are|was|were|be|been|has|have|had|does|do|did|can|cannot|could|may|might|must|will|would|should|shall|need"
    r"|let|lets|read|see|set|sets|put|puts|keep|run|take|make|use|give|get|send|start|stop|write|call|go|come|find"
    r"|return|raise|wait|hold|ask|end|count|move|add|remove|show|tell|know|check|begin|choose|try|add|open|close"
    r"|\w{2,}(s|ed)|\w+n't)\b",
    re.IGNORECASE,
)
"""A rough sign of a verb: a listed one, or a word that ends like one. It misses fragments; it must not invent them."""


class Finding(tuple[str, int, str, str]):
    """File, line, kind, text."""


def sentences(text: str) -> Iterator[str]:
    """The sentences of a paragraph. Code in backticks becomes one word, so do links and parentheses of code."""
    text = re.sub(r"`+[^`]*`+", "CODE", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\*\*|__", "", text)
    text = re.sub(r"https?://\S+", "URL", text)
    text = re.sub(r"\b(e\.g|i\.e|etc|vs|approx|No)\.", r"\1", text)
    for part in re.split(r"(?<=[.!?])[\")]*\s+(?=[A-Z\"(`\d])", " ".join(text.split())):
        if part.strip():
            yield part.strip()


def words(sentence: str) -> int:
    return len(re.findall(r"[A-Za-z0-9'%/.+_-]*[A-Za-z0-9][A-Za-z0-9'%/.+_-]*", sentence))


def kinds(sentence: str) -> Iterator[str]:
    if words(sentence) > WORDS_MAX:
        yield "long sentence"
    if OPENINGS.match(sentence):
        yield "banned opening"
    if PHRASES.search(sentence):
        yield "banned phrase"
    if ADVERBIAL.match(sentence) and not VERB.search(sentence.partition(" ")[2]):
        yield "fragment"


def paragraphs_of_markdown(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each paragraph, list item and table cell; code blocks are left out."""
    block: list[str] = []
    start, in_code = 1, False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            in_code = not in_code
            stripped = ""
        elif in_code:
            continue
        is_row, is_item = stripped.startswith("|"), bool(re.match(r"([-*+]|\d+\.) ", stripped))
        if block and (not stripped or is_row or is_item or stripped.startswith(("#", "<", ">"))):
            yield start, " ".join(block)
            block = []
        if is_row:
            yield from ((number, cell.strip()) for cell in re.split(r"(?<!\\)\|", stripped) if cell.strip(" -:"))
        elif stripped and not stripped.startswith(("#", "<", "---")):
            if not block:
                start = number
            block.append(re.sub(r"^([-*+>]|\d+\.) ", "", stripped))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below the node. To look into their expressions as well would take most of the time."""
    for field in ("body", "handlers", "cases", "orelse", "finalbody"):
        for child in getattr(node, field, ()):
            yield child
            yield from statements(child)


def paragraphs_of_python(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each paragraph of docstrings, attributes' docstrings among them, and of each comment."""
    for node in statements(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            line = node.lineno
            for paragraph in re.split(r"\n\s*\n", node.value.value):
                items = re.split(r"\n\s*(?:[-*]|\d+\.) ", paragraph)
                yield from ((line, item) for item in items)
                line += paragraph.count("\n") + 2
    if "#" not in text:
        return
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comment = re.sub(r"^#[!:]?\s*|(noqa|type: ignore)\S*( [A-Z]+\d+)*( - )?", "", token.string).strip(" #-")
            alone = not token.line[: token.start[1]].strip()
            if block and not (alone and token.start[0] == last + 1):
                yield start, " ".join(block)
                block = []
            if not block:
                start = token.start[0]
            block.append(comment)
            last = token.start[0]
    if block:
        yield start, " ".join(block)


def findings(file: Path) -> Iterator[tuple[str, int, str, str]]:
    text = file.read_text("utf-8")
    markdown = file.suffix == ".md"
    for line, paragraph in paragraphs_of_markdown(text) if markdown else paragraphs_of_python(text):
        for sentence in sentences(paragraph):
            for kind in kinds(sentence):
                yield str(file), line, kind, sentence
    if markdown:
        in_code = False
        for number, line in enumerate(text.splitlines(), 1):
            in_code ^= line.strip().startswith("```")
            if len(line) > LINE_CHARS_MAX and not in_code and not line.startswith(("|", "[")) and " " in line.strip():
                yield str(file), number, "long line", line[:60]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="files and folders; without any, the whole repository")
    parser.add_argument("--count", action="store_true", help="print numbers only")
    options = parser.parse_args()
    listed = subprocess.run(["git", "ls-files", "--", *CHECKED], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607
    files = [Path(name) for name in listed.splitlines() if name not in EXEMPT and Path(name).is_file()]
    if options.paths:
        files = [file for file in files if any(file.is_relative_to(path) for path in options.paths)]
    found = [one for file in files for one in findings(file)]
    if not options.count:
        for name, line, kind, text in found:
            sys.stdout.write(f"{name}:{line}: {kind}: {text}\n")
    counts = Counter((kind, Path(name).suffix, Path(name).parts[0]) for name, _, kind, _ in found)
    for (kind, suffix, tree), count in sorted(counts.items()):
        sys.stdout.write(f"{count:6} {kind} in {tree} ({suffix})\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
