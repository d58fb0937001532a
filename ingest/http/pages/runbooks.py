"""Makes a page of docs/runbooks.md, so that the service shows what to do even if nothing else can be reached.

It knows the Markdown of that document: headings, paragraphs, lists, tables, code, links and emphasis.
"""

import html
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MISSING = "# Runbooks\n\nThis installation lacks its document. The service takes events as usual."

_HEADING = re.compile(r"(#+) (.*)")
_ITEM = re.compile(r"^(?:\d+\.|-) +", re.MULTILINE)
_SECTION = re.compile(r"^## (\w+)$", re.MULTILINE)
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")
_EMPHASIS = re.compile(r"\*([^*]+)\*")


def runbooks() -> str:
    """The document: inside the installed package, or in a checkout's docs."""
    here = Path(__file__).resolve()
    for file in (here.with_name("runbooks.md"), here.parents[3] / "docs" / "runbooks.md"):
        with suppress(FileNotFoundError):
            return file.read_text("utf-8")
    return MISSING


def as_html(markdown: str) -> str:
    """Return the content of the page's body. Each section has its heading as id, and its name is a link elsewhere."""
    names = re.compile(rf"\b({'|'.join(_SECTION.findall(markdown)) or '(?!)'})\b")
    return "\n".join(_block(block, names) for block in re.split(r"\n{2,}", markdown.strip()))


def _block(block: str, names: re.Pattern[str]) -> str:
    if heading := _HEADING.fullmatch(block):
        level, text = len(heading[1]), html.escape(heading[2])
        return f'<h{level} id="{text}">{text}</h{level}>' if level > 1 else f"<h1>{text}</h1>"
    if block.startswith("|"):
        return _table(block, names)
    if _ITEM.match(block):
        return _list(block, names)
    return f"<p>{_inline(block, names)}</p>"


def _list(block: str, names: re.Pattern[str]) -> str:
    """A list inside an item is indented by three blanks, as all further lines of the item."""
    kind = "ul" if block.startswith("-") else "ol"
    items = "".join(f"<li>{_item(item, names)}</li>" for item in _ITEM.split(block) if item)
    return f"<{kind}>{items}</{kind}>"


def _item(item: str, names: re.Pattern[str]) -> str:
    text, inner = re.match(r"(.*?)(?:\n(- .*))?$", re.sub(r"^ {2,3}", "", item, flags=re.MULTILINE), re.DOTALL).groups()  # type: ignore[union-attr] # it matches any text
    return _inline(text, names) + (_list(inner.strip(), names) if inner else "")


def _table(block: str, names: re.Pattern[str]) -> str:
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]

    def row(cells: list[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{_inline(cell, names)}</{kind}>" for cell in cells) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _inline(text: str, names: re.Pattern[str]) -> str:
    return "".join(_parts(text, names))


def _parts(text: str, names: re.Pattern[str]) -> Iterator[str]:
    """Text and code take turns. A link to another document loses its address, which the service does not have."""
    for number, part in enumerate(text.split("`")):
        escaped = html.escape(part, quote=False)
        if number % 2:
            yield f"<code>{escaped}</code>"
            continue
        plain = _EMPHASIS.sub(r"<em>\1</em>", _STRONG.sub(r"<strong>\1</strong>", _LINK.sub(r"\1", escaped)))
        yield names.sub(r'<a href="#\1">\1</a>', plain)
