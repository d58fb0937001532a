"""Makes tables of their definitions, with the checks of each column's values."""

from functools import cache, lru_cache
from typing import Any

from tests.simulation.mysql.errors import Unsupported, error
from tests.simulation.mysql.sql.nodes import ColumnDefinition
from tests.simulation.mysql.sql.values import (
    LEVELS_OF_MARIADB,
    LEVELS_OF_MYSQL,
    LITERALS,
    as_text,
    json_valid,
    moment_of,
)
from tests.simulation.mysql.storage.tables import Convert, Schema

BITS = {"BIGINT": 64, "INT": 32, "SMALLINT": 16, "TINYINT": 8}
WIDTHS = {"BIGINT": 20, "INT": 11, "SMALLINT": 6, "TINYINT": 4}
"""MariaDB shows them, MySQL none."""


@cache
def schema_of(
    columns: tuple[ColumnDefinition, ...],
    key: str,
    indexes: tuple[tuple[str, tuple[str, ...]], ...],
    table: str,
    mariadb: bool,
) -> Schema:
    """`table` is for the texts of errors."""
    converters = tuple(_checked(column, table, mariadb) for column in columns)
    places = {column.name: place for place, column in enumerate(columns)}
    return Schema(columns, converters, places[key], indexes, places)


def shown_type(column: ColumnDefinition, mariadb: bool) -> str:
    """The type, as information_schema has it."""
    kind = column.type
    if kind in BITS:
        return f"{kind.lower()}({WIDTHS[kind]})" if mariadb else kind.lower()
    if kind == "JSON" and mariadb:
        return "longtext"
    return kind.lower() if column.length is None else f"{kind.lower()}({column.length})"


def of_literal(column: ColumnDefinition, convert: Convert, kind: str) -> Convert:
    """Makes a column's value of a literal. The usual kinds have a way of their own, because a batch has many."""
    value = LITERALS[kind]
    if kind == "plain" and column.type == "DATETIME":
        moment = lru_cache(1024)(lambda literal: convert(value(literal), 1))
        return lambda literal, row: moment(literal)
    if kind == "plain" and column.type in BITS:
        most = (1 << BITS[column.type] - 1) - 1
        return lambda literal, row: (
            number if literal.isdigit() and (number := int(literal)) <= most else convert(value(literal), row)
        )
    if kind == "plain" and column.type == "VARCHAR" and column.charset != "ascii":
        length = column.length or 0

        def text(literal: bytes, row: int) -> Any:
            if b"\\" in literal or len(literal) > length:
                return convert(value(literal), row)
            return literal[1:-1].decode()

        return text
    return lambda literal, row: convert(value(literal), row)


def _checked(column: ColumnDefinition, table: str, mariadb: bool) -> Convert:
    name, nullable = column.name, column.nullable
    convert = _converter(column, table, mariadb)

    def checked(value: Any, row: int) -> Any:
        if value is None:
            if not nullable:
                raise error(1048, name)
            return None
        return convert(value, row)

    return checked


def _converter(column: ColumnDefinition, table: str, mariadb: bool) -> Convert:
    kind = column.type
    if kind in BITS:
        return _integer(column.name, BITS[kind])
    if kind in ("VARCHAR", "CHAR"):
        return _text(column)
    if kind in ("BINARY", "VARBINARY", "LONGBLOB"):
        return _bytes(column)
    if kind == "JSON":
        return _json(column.name, table, mariadb)
    if kind == "DATETIME":
        return _moment(column.name)
    raise Unsupported(kind)


def _integer(name: str, bits: int) -> Convert:
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1

    def convert(value: Any, row: int) -> int:
        number = int(value)
        if not least <= number <= most:
            raise error(1264, name, row)
        return number

    return convert


def _text(column: ColumnDefinition) -> Convert:
    name, length, only_ascii = column.name, column.length or 0, column.charset == "ascii"

    def convert(value: Any, row: int) -> str:
        text = as_text(value)
        if only_ascii and not text.isascii():
            raise error(1366, "string", text[:10], name, row)
        if len(text) > length:
            if text[length:].strip(" "):
                raise error(1406, name, row)
            text = text[:length]
        return str(text)

    return convert


def _bytes(column: ColumnDefinition) -> Convert:
    name, length, padded = column.name, column.length, column.type == "BINARY"

    def convert(value: Any, row: int) -> bytes:
        data = value if isinstance(value, bytes) else as_text(value).encode()
        if length is not None and len(data) > length:
            raise error(1406, name, row)
        return data.ljust(length, b"\0") if padded and length else bytes(data)

    return convert


def _json(name: str, table: str, mariadb: bool) -> Convert:
    levels_max = LEVELS_OF_MARIADB if mariadb else LEVELS_OF_MYSQL

    def convert(value: Any, row: int) -> str:
        text = str(as_text(value))
        if not json_valid(text.encode(), levels_max):
            raise error(4025, f"{table}.{name}", "ingest", table) if mariadb else error(3140, name)
        return text

    return convert


def _moment(name: str) -> Convert:
    def convert(value: Any, row: int) -> Any:
        found = moment_of(value) if isinstance(value, str) else value
        if found is None:
            raise error(1292, "datetime", value, name, row)
        return found

    return convert
