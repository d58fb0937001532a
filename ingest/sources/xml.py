"""Reads the XML of FreeSWITCH's records, which is often not well-formed.

Names of channel variables become names of elements (`<set x>`, `<^^,a>`, `<1>`), and values hold `<` as it is. So this
reader takes what looks like an element by its name, and everything else as text. It defines no entities.
"""

import codecs
import html
import re
from typing import Any

from ingest.errors import Malformed

DEPTH_MAX = 20

_TAG = re.compile(r"<(/?)([A-Za-z_][\w.:-]*)((?:\s[^<>]*?)?)(/?)>")
_DECLARED = re.compile(rb"""<\?xml[^>]{0,100}?encoding=["']([A-Za-z0-9._-]{1,40})["']""")
_DOCTYPE = re.compile(r"<!DOCTYPE", re.IGNORECASE)


def decoded(xml: bytes) -> str:
    """Decode the document by its byte order mark or its declaration, otherwise as UTF-8.

    Bytes that the encoding does not have become U+FFFD.
    """
    if xml.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return xml.decode("utf-16", "replace")
    declared = _DECLARED.match(xml)
    try:
        text = xml.decode(declared[1].decode() if declared else "utf-8", "replace")
    except (LookupError, ValueError):
        text = ""
    return text if text.startswith("<") else xml.decode("utf-8", "replace")  # the declaration may be wrong


def tree(text: str) -> dict[str, Any]:
    """Return the children of the root by name, each as text or as a dictionary of its children.

    The first of several children of one name wins. Raises `Malformed`, also for a document type, which could define
    entities.
    """
    if _DOCTYPE.search(text):
        raise Malformed("The body has a document type, which is not allowed.")
    root: dict[str, Any] = {}
    opened: list[tuple[str, dict[str, Any], int]] = [("", root, 0)]
    for tag in _TAG.finditer(text):
        closes, name, _, empty = tag.groups()
        if closes:
            _close(opened, name, text, tag.start())
            continue
        if len(opened) > DEPTH_MAX:
            raise Malformed(f"The body is nested deeper than {DEPTH_MAX} levels.")
        if empty:
            opened[-1][1].setdefault(name, "")
        else:
            opened.append((name, {}, tag.end()))
    while len(opened) > 1:
        _close(opened, opened[-1][0], text, len(text))
    found = next((value for value in root.values() if isinstance(value, dict)), None)
    if found is None:
        raise Malformed("The body is not valid XML: it has no elements.")
    return found


def _close(opened: list[tuple[str, dict[str, Any], int]], name: str, text: str, end: int) -> None:
    """Close the innermost open element of this name. Elements that were left open in it have no children."""
    if name not in (entry[0] for entry in opened[1:]):
        return
    while opened[-1][0] != name:
        left_open, children, _ = opened.pop()
        for child, value in ({left_open: ""} | children).items():
            opened[-1][1].setdefault(child, value)
    _, children, start = opened.pop()
    opened[-1][1].setdefault(name, children or html.unescape(text[start:end]))
