"""Reads XML into nested dictionaries. It accepts no document type, and so no entities and no external references."""

from typing import Any
from xml.parsers import expat

from ingest.errors import Malformed

DEPTH_MAX = 20


def tree(xml: bytes) -> dict[str, Any]:
    """Return the root's children by name, each as text or as a dictionary of its children.

    The first of several children of one name wins. Raises `Malformed`, also for a document type, which could define
    entities.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(xml, True)
    except expat.ExpatError as exc:
        raise Malformed(f"The body is not valid XML: {exc}.") from exc
    found = reader.root
    return found if isinstance(found, dict) else {}


class _Reader:
    def __init__(self) -> None:
        self.root: dict[str, Any] | str = {}
        self._open: list[tuple[str, dict[str, Any], list[str]]] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= DEPTH_MAX:
            raise Malformed(f"The body is nested deeper than {DEPTH_MAX} levels.")
        self._open.append((name, {}, []))

    def _end(self, name: str) -> None:
        _, children, words = self._open.pop()
        value = children or "".join(words)
        if self._open:
            self._open[-1][1].setdefault(name, value)
        else:
            self.root = value

    def _text(self, data: str) -> None:
        self._open[-1][2].append(data)

    def _doctype(self, *_: object) -> None:
        raise Malformed("The body has a document type, which is not allowed.")
