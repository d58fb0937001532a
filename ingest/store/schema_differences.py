"""Compares an existing table with the one of this version, without any I/O.

`ingest.store.mysql.schema` reads the existing tables. Some differences stop the service: events would be lost or
refused, or a promise broken. The others only cost something.
"""

from collections.abc import Iterator

import msgspec

from ingest.store.schema_types import fits
from ingest.store.table_shapes import Column, TableShape

ROW_FORMATS_KNOWN = ("DYNAMIC", "COMPACT", "REDUNDANT", "COMPRESSED")


class Difference(msgspec.Struct, frozen=True):
    """`stops`: events would be lost or refused, or a promise broken. `text` says what differs and what to do."""

    stops: bool
    text: str


def compare(expected: TableShape, found: TableShape | None) -> Iterator[Difference]:
    """The differences of a table, each with what to do."""
    name = expected.name
    if found is None:
        yield Difference(True, f"{name} is missing: run `ingest migrate`.")
        return
    yield from _of_engine(expected, found)
    for column in expected.columns.values():
        yield from _of_column(name, column, found.columns.get(column.name), column.name in expected.primary_key)
    yield from _of_keys(expected, found)
    yield from _of_additions(expected, found)


def _of_engine(expected: TableShape, found: TableShape) -> Iterator[Difference]:
    name, engine = expected.name, found.engine
    if not found.transactional:
        yield Difference(
            True,
            f"{name} has engine {engine}, which has no transactions: a crash loses acknowledged events. "
            f"ALTER TABLE {name} ENGINE = InnoDB",
        )
    elif engine.upper() != expected.engine.upper():
        yield Difference(False, f"{name} has engine {engine}; this service is tested with InnoDB only.")
    elif found.row_format.upper() in ROW_FORMATS_KNOWN[1:]:
        yield Difference(
            False, f"{name} has row format {found.row_format}. ALTER TABLE {name} ROW_FORMAT = {expected.row_format}"
        )


def _of_column(table: str, expected: Column, found: Column | None, in_key: bool) -> Iterator[Difference]:
    where = f"{table}.{expected.name}"
    modify = f"ALTER TABLE {table} MODIFY {expected.definition}"
    if found is None:
        add = f"ALTER TABLE {table} ADD {expected.definition}"
        yield Difference(True, f"{where} is missing: run `ingest migrate`. If it is still missing: {add}")
        return
    if found.generated:
        yield Difference(True, f"{where} is generated, so no event can be stored. Drop it, and {modify}")
        return
    fit = fits(expected.type, found.type, unsigned=in_key)
    if fit is None:
        zone = "SET time_zone = '+00:00'; " if found.type.startswith("timestamp") else ""
        yield Difference(True, f"{where} is {found.type}, and must be {expected.type}. {zone}{modify}")
        return
    if fit != "same":
        yield Difference(False, f"{where} is {found.type}, wider than {expected.type}.")
    yield from _of_text(where, expected, found, modify)
    yield from _of_null(where, expected, found, modify)


def _of_text(where: str, expected: Column, found: Column, modify: str) -> Iterator[Difference]:
    if expected.charset == "utf8mb4" and found.charset not in (None, "utf8mb4"):
        yield Difference(True, f"{where} has charset {found.charset}, which lacks some characters. {modify}")
    elif expected.collation and found.collation not in (None, expected.collation):
        yield Difference(
            False,
            f"{where} has collation {found.collation}: texts that differ only in case or accents are equal. {modify}",
        )


def _of_null(where: str, expected: Column, found: Column, modify: str) -> Iterator[Difference]:
    if expected.nullable and not found.nullable:
        yield Difference(True, f"{where} is NOT NULL, and must take NULL. {modify}")
    elif found.nullable and not expected.nullable:
        yield Difference(False, f"{where} takes NULL. {modify}")
    if expected.has_default and not found.has_default and not found.nullable:
        yield Difference(True, f"{where} has no default. {modify}")
    if found.counted:
        yield Difference(
            False, f"{where} is AUTO_INCREMENT: ids of other writers hold no time, and may collide with ours. {modify}"
        )


def _of_keys(expected: TableShape, found: TableShape) -> Iterator[Difference]:
    name, wanted, there = expected.name, list(expected.primary_key), list(found.primary_key)
    listed = ", ".join(wanted)
    if there != wanted:
        # A longer key of the events is fine if it begins with the id: a repeated commit has the same values in it.
        stops = name != "call_event_logs" or there[: len(wanted)] != wanted
        begin = "DROP PRIMARY KEY, " if there else ""
        has = f"({', '.join(there)})" if there else "missing"
        yield Difference(
            stops,
            f"The primary key of {name} is {has}, and must be ({listed}): otherwise a repeated commit may store "
            f"events twice. ALTER TABLE {name} {begin}ADD PRIMARY KEY ({listed})",
        )
    for index in expected.indexes:
        columns = list(index.columns)
        if not any(list(other.columns)[: len(columns)] == columns for other in found.indexes):
            keyed = ", ".join(columns)
            yield Difference(
                False,
                f"{name} has no index on ({keyed}): each lookup reads the whole table. "
                f"ALTER TABLE {name} ADD KEY {index.name} ({keyed})",
            )
    for index in found.indexes:
        if index.unique and not set(wanted) <= set(index.columns):
            yield Difference(
                True,
                f"Index {index.name} of {name} refuses an event with the same ({', '.join(index.columns)}) as another. "
                f"ALTER TABLE {name} DROP INDEX {index.name}",
            )


def _of_additions(expected: TableShape, found: TableShape) -> Iterator[Difference]:
    name = expected.name
    for column in found.columns.values():
        if column.name in expected.columns:
            continue
        if not (column.nullable or column.has_default or column.generated or column.counted):
            yield Difference(
                True,
                f"{name}.{column.name} is not this service's. It is NOT NULL without a default: no event is stored. "
                f"ALTER TABLE {name} MODIFY {column.name} {column.type} NULL",
            )
        elif column.generated:
            yield Difference(
                False, f"{name}.{column.name} is computed from each event: if that fails, the event is refused."
            )
    for stops, text in found.attached:
        yield Difference(stops, f"{name} has {text}")
