"""Writes docs/settings.md from the definitions in ingest/settings/model.py. `--check` only compares.

A row has the variable, its default and its effect. The effect is the docstring below the field. The comment above
fields is the title of their group.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ingest.settings import PREFIX, Settings

FILE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """# Settings

All settings are environment variables, or lines of [a file](commands.md). `ingest config` prints the effective values,
and `ingest doctor` checks them.
`ingest` refuses an unknown variable that begins with `INGEST_`, and a value out of range.

This file is generated from [ingest/settings/model.py](../ingest/settings/model.py) by `make settings-doc`.
"""
UNITS = {"_seconds": "s", "_bytes": "bytes", "_days": "days"}
ROW = "| `{}` | {} | {} |"


def groups() -> Iterator[tuple[str, list[str]]]:
    """Title and rows of each group, in the order of the definitions."""
    source = inspect.getsource(Settings)
    body: list[Any] = ast.parse(source).body[0].body  # type: ignore[attr-defined] # a class
    titles = [(at, line.strip(" #")) for at, line in enumerate(source.splitlines(), 1) if line.startswith("    # ")]
    ends = [at for at, _ in titles[1:]] + [len(source)]
    fields = [(field, text) for field, text in pairwise(body) if isinstance(field, ast.AnnAssign)]
    for (begin, title), end in zip(titles, ends, strict=True):
        yield title, [_row(field, text) for field, text in fields if begin < field.lineno < end]


def _row(field: Any, text: Any) -> str:
    name = field.target.id
    effect = " ".join(text.value.value.split()).replace("|", "\\|")
    return ROW.format(PREFIX + name.upper(), _default(name), effect + _choices(name))


def _default(name: str) -> str:
    value = getattr(Settings(), name)
    if value in ("", ()):
        return ""
    unit = next(
        (unit for words, unit in UNITS.items() if name.removesuffix("_max").removesuffix("_min").endswith(words)), ""
    )
    in_mib = f" ({value >> 20} MiB)" if unit == "bytes" and value and not value % (1 << 20) else ""
    return f"`{value}` {unit}{in_mib}".strip()


def _choices(name: str) -> str:
    kind = get_type_hints(Settings)[name]
    if get_origin(kind) is not Literal:
        return ""
    *others, last = (f"`{choice}`" for choice in get_args(kind))
    return f" One of {', '.join(others)} and {last}."


def document() -> str:
    parts = [HEAD]
    for title, rows in groups():
        parts.append("\n".join([f"## {title}\n", "| variable | default | effect |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def main() -> int:
    if "--check" not in sys.argv[1:]:
        FILE.write_text(document(), "utf-8")
    elif FILE.read_text("utf-8") != document():
        sys.stderr.write("docs/settings.md is not current: run `make settings-doc`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
