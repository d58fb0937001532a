"""The numbered migrations in `sql/`, split into statements. Each database's adapter applies them."""

from functools import cache
from pathlib import Path

import msgspec


class Migration(msgspec.Struct, frozen=True):
    """One file `sql/<dialect>/NNNN_name.sql`."""

    version: int
    name: str
    statements: tuple[str, ...]


def sql_folder(dialect: str) -> Path:
    """The folder of a dialect's SQL files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "sql" / dialect
    return inside if inside.is_dir() else package.parent / "sql" / dialect


def migrations(dialect: str) -> list[Migration]:
    """All migrations of `mysql` or `sqlite`, oldest first."""
    files = sorted(sql_folder(dialect).glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [_migration(file) for file in files]


@cache
def newest_version(dialect: str) -> int:
    """The schema version of this release."""
    return migrations(dialect)[-1].version


def _migration(file: Path) -> Migration:
    number, _, name = file.stem.partition("_")
    return Migration(int(number), name, split_statements(file.read_text("utf-8")))


def split_statements(script: str) -> tuple[str, ...]:
    """The statements of a script. Each statement ends with `;` at the end of a line. `--` lines are comments."""
    lines = [line for line in script.splitlines() if not line.lstrip().startswith("--")]
    parts = (part.strip().rstrip(";") for part in "\n".join(lines).split(";\n"))
    return tuple(part for part in parts if part)
