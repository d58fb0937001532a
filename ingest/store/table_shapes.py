"""The tables as `sql/mysql/schema.sql` defines them."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec

from ingest.store.migrations import split_statements, sql_folder


class Column(msgspec.Struct, frozen=True):
    """`definition` is its SQL, such as `call_id VARCHAR(255) NOT NULL`. It is empty for an existing column."""

    name: str
    type: str
    nullable: bool
    has_default: bool = False
    charset: str | None = None
    collation: str | None = None
    generated: bool = False
    counted: bool = False
    """AUTO_INCREMENT."""
    definition: str = ""


class Index(msgspec.Struct, frozen=True):
    name: str
    columns: Sequence[str]
    unique: bool = False


class TableShape(msgspec.Struct, frozen=True):
    """`attached` lists triggers, foreign keys and checks: a flag if it may refuse an event, and its description."""

    name: str
    columns: Mapping[str, Column]
    primary_key: Sequence[str]
    indexes: Sequence[Index] = ()
    engine: str = "InnoDB"
    transactional: bool = True
    row_format: str = "DYNAMIC"
    attached: Sequence[tuple[bool, str]] = ()


COLUMN = re.compile(
    r"(?P<name>\w+)\s+(?P<type>\w+(?:\(\d+\))?)(?:\s+CHARACTER SET (?P<charset>\w+))?(?:\s+COLLATE (?P<collation>\w+))?"
    r"(?P<null>(?: NOT)? NULL)?(?P<default> DEFAULT .+)?"
)
TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(?P<name>\w+) \((?P<body>.*)\n\)(?P<options>[^)]*)$", re.DOTALL)
PRIMARY_KEY = re.compile(r"PRIMARY KEY \((.+)\)")
KEY = re.compile(r"KEY (\w+) \((.+)\)")


@cache
def statements() -> Mapping[str, str]:
    """The CREATE TABLE statement of each table, by the table's name."""
    script = (sql_folder("mysql") / "schema.sql").read_text("utf-8")
    return {match["name"]: one for one in split_statements(script) if (match := TABLE.match(one))}


@cache
def expected_tables() -> Sequence[TableShape]:
    """All tables of this version, for MySQL and MariaDB."""
    found = (TABLE.match(statement) for statement in statements().values())
    return [_shape(match["name"], match["body"], match["options"]) for match in found if match]


def _shape(name: str, body: str, options: str) -> TableShape:
    columns: dict[str, Column] = {}
    primary_key: Sequence[str] = ()
    indexes: list[Index] = []
    charset = re.search(r"CHARSET = (\w+)", options)
    for line in (" ".join(part.split()) for part in re.split(r",\n", body)):
        if key := PRIMARY_KEY.fullmatch(line):
            primary_key = key[1].split(", ")
        elif key := KEY.fullmatch(line):
            indexes.append(Index(key[1], key[2].split(", ")))
        elif match := COLUMN.fullmatch(line):
            columns[match["name"]] = _column(match, line, charset[1] if charset else None)
        else:
            raise ValueError(f"schema.sql has a line that cannot be read: {line}")
    return TableShape(name, columns, primary_key, indexes)


def _column(match: "re.Match[str]", line: str, charset: str | None) -> Column:
    kind = match["type"].lower()
    is_text = kind.startswith(("varchar", "char"))
    return Column(
        match["name"],
        kind,
        nullable=match["null"] != " NOT NULL",
        has_default=match["default"] is not None,
        charset=match["charset"] or (charset if is_text else None),
        collation=match["collation"],
        definition=line,
    )
