"""Parses CREATE, ALTER, DROP and RENAME, and statements of a few words."""

from collections.abc import Callable
from typing import Any

from tests.simulation.mysql.errors import Unsupported
from tests.simulation.mysql.sql.expressions import ExpressionParser, Reader
from tests.simulation.mysql.sql.nodes import ColumnDefinition, Command, Constant, CreateTable, Expression, Node

ALONE = {
    "BEGIN": "BEGIN",
    "COMMIT": "COMMIT",
    "ROLLBACK": "ROLLBACK",
    "UNLOCK": "UNLOCK TABLES",
}


class DefinitionParser:
    """Numbers in a definition are literals of the statement, so they stay expressions until it runs."""

    def __init__(self, reader: Reader, expressions: ExpressionParser) -> None:
        self._reader = reader
        self._expressions = expressions

    def command(self, word: str) -> Node:
        reader = self._reader
        if word in ALONE:
            reader.take()
            reader.words("TABLES")
            return Command(ALONE[word])
        methods: dict[str, Callable[[], Node]] = {
            "USE": lambda: Command("USE", (reader.name(),)),
            "CREATE": self._create,
            "DROP": self._drop,
            "RENAME": self._rename,
            "ALTER": self._alter,
            "LOCK": self._lock,
            "DO": lambda: Command("DO", (self._expressions.parse(),)),
            "PREPARE": self._prepare,
            "EXECUTE": lambda: Command("EXECUTE", (reader.name(),)),
            "DEALLOCATE": self._deallocate,
        }
        if word not in methods:
            raise Unsupported(word)
        reader.take()
        return methods[word]()

    def _create(self) -> Node:
        reader = self._reader
        reader.expect("TABLE")
        if_not_exists = reader.words("IF", "NOT", "EXISTS")
        name = reader.name()
        if reader.words("LIKE"):
            return CreateTable(name, (), "", (), if_not_exists, reader.name())
        reader.expect("(")
        columns: list[ColumnDefinition] = []
        key, indexes = "", []
        while True:
            if reader.words("PRIMARY", "KEY"):
                key = reader.names()[0]
            elif reader.words("KEY"):
                index = reader.name()
                indexes.append((index, reader.names()))
            else:
                column, is_key = self.column()
                columns.append(column)
                key = column.name if is_key else key
            if not reader.sign(","):
                break
        reader.expect(")")
        self._skip_options()
        return CreateTable(name, tuple(columns), key, tuple(indexes), if_not_exists)

    def column(self) -> tuple[ColumnDefinition, bool]:
        """A column, and whether it is the primary key."""
        reader = self._reader
        name, kind = reader.name(), reader.name().upper()
        length: Any = None
        if reader.sign("("):
            length = self._expressions.parse()
            reader.expect(")")
        charset = collation = None
        nullable, has_default, is_key, default = True, False, False, None
        while not (reader.ended or reader.next.text in (",", ")")):
            if reader.words("CHARACTER", "SET"):
                charset = reader.name()
            elif reader.words("COLLATE"):
                collation = reader.name()
            elif reader.words("NOT", "NULL"):
                nullable = False
            elif reader.words("NULL"):
                nullable = True
            elif reader.words("DEFAULT"):
                has_default, default = True, self._expressions.parse()
            elif reader.words("PRIMARY", "KEY"):
                is_key = True
            else:
                raise Unsupported(f"column {name}: {reader.next}")
        return ColumnDefinition(name, kind, length, nullable, default, has_default, charset, collation), is_key

    def _skip_options(self) -> None:
        """Engine, row format, charset and collation: all tables here have the same ones."""
        while not self._reader.ended:
            self._reader.take()

    def _drop(self) -> Node:
        self._reader.expect("TABLE")
        if_exists = self._reader.words("IF", "EXISTS")
        return Command("DROP TABLE", (self._reader.name(), if_exists))

    def _rename(self) -> Node:
        reader = self._reader
        reader.expect("TABLE")
        pairs = []
        while True:
            old = reader.name()
            reader.expect("TO")
            pairs.append((old, reader.name()))
            if not reader.sign(","):
                return Command("RENAME TABLE", tuple(pairs))

    def _lock(self) -> Node:
        reader = self._reader
        reader.expect("TABLES")
        table = reader.name()
        reader.expect("WRITE")
        return Command("LOCK TABLES", (table,))

    def _prepare(self) -> Node:
        name = self._reader.name()
        self._reader.expect("FROM")
        return Command("PREPARE", (name, self._expressions.parse()))

    def _deallocate(self) -> Node:
        self._reader.expect("PREPARE")
        return Command("DEALLOCATE", (self._reader.name(),))

    def _alter(self) -> Node:
        reader = self._reader
        reader.expect("TABLE")
        table = reader.name()
        if reader.words("ADD", "COLUMN"):
            return Command("ADD COLUMN", (table, self.column()[0]))
        if reader.words("PARTITION", "BY", "RANGE"):
            reader.names()
            return Command("PARTITION", (table, self._partitions()))
        if reader.words("REORGANIZE", "PARTITION"):
            name = reader.name()
            reader.expect("INTO")
            return Command("REORGANIZE", (table, name, self._partitions()))
        if reader.words("EXCHANGE", "PARTITION"):
            name = reader.name()
            reader.expect("WITH", "TABLE")
            return Command("EXCHANGE", (table, name, reader.name()))
        if reader.words("DROP", "PARTITION"):
            return Command("DROP PARTITION", (table, reader.name()))
        raise Unsupported(f"ALTER TABLE {table} {reader.next}")

    def _partitions(self) -> tuple[tuple[str, Expression], ...]:
        """The names and ends of partitions."""
        reader = self._reader
        reader.expect("(")
        found = []
        while not reader.sign(")"):
            reader.expect("PARTITION")
            name = reader.name()
            reader.expect("VALUES", "LESS", "THAN")
            if reader.words("MAXVALUE"):
                found.append((name, Constant(None)))
            else:
                reader.expect("(")
                found.append((name, self._expressions.parse()))
                reader.expect(")")
            reader.sign(",")
        return tuple(found)
