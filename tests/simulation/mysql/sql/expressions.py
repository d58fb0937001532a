"""Parses expressions, by the precedence of their operators."""

from collections.abc import Callable
from typing import Literal

from tests.simulation.mysql.errors import error
from tests.simulation.mysql.sql.nodes import (
    Call,
    Column,
    Constant,
    Expression,
    Interval,
    Member,
    Operation,
    Param,
    Select,
    Subquery,
    Variable,
)
from tests.simulation.mysql.sql.tokens import Token

PRECEDENCE = (
    ("OR",),
    ("AND",),
    ("=", "<=>", "<", ">", "<=", ">=", "<>", "!=", "LIKE"),
    ("|",),
    ("&",),
    (">>", "<<"),
    ("+", "-"),
    ("*", "/", "%"),
)
"""The weakest come first. NOT comes before the comparisons."""
COMPARISON = 2
CONSTANTS = {"NULL": None, "TRUE": 1, "FALSE": 0, "MAXVALUE": None}


class Reader:
    """Reads tokens, one after another."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._at]

    @property
    def ended(self) -> bool:
        return self.next.kind == "end"

    @property
    def following_kind(self) -> str:
        """The kind of the token after the next one."""
        return self._tokens[self._at + 1].kind

    def take(self) -> Token:
        token = self.next
        self._at += 1
        return token

    def words(self, *words: str) -> bool:
        """Take these words, if they come next."""
        following = self._tokens[self._at : self._at + len(words)]
        if len(following) == len(words) and all(one.is_word(word) for one, word in zip(following, words, strict=True)):
            self._at += len(words)
            return True
        return False

    def sign(self, sign: str) -> bool:
        if self.next == ("sign", sign):
            self._at += 1
            return True
        return False

    def expect(self, *texts: str) -> None:
        for text in texts:
            if not (self.words(text) or self.sign(text)):
                raise error(1064, " ".join(one.text for one in self._tokens[self._at : self._at + 10]))

    def name(self) -> str:
        token = self.take()
        if token.kind not in ("word", "quoted"):
            raise error(1064, token.text)
        return token.text

    def names(self) -> tuple[str, ...]:
        """Names in parentheses."""
        self.expect("(")
        found = [self.name()]
        while self.sign(","):
            found.append(self.name())
        self.expect(")")
        return tuple(found)


class ExpressionParser:
    """`query` parses a query in parentheses, from its first word."""

    def __init__(self, reader: Reader, query: Callable[[], Select]) -> None:
        self._reader = reader
        self._query = query

    def parse(self, level: int = 0) -> Expression:
        reader = self._reader
        if level == COMPARISON and reader.words("NOT"):
            return Operation("NOT", (self.parse(COMPARISON),))
        if level == len(PRECEDENCE):
            return self._primary()
        left = self.parse(level + 1)
        while True:
            if level == COMPARISON and (tested := self._tested(left)) is not None:
                left = tested
                continue
            operator = next((one for one in PRECEDENCE[level] if reader.sign(one) or reader.words(one)), None)
            if operator is None:
                return left
            right = self._interval() or self.parse(level + 1)
            left = Operation("<>" if operator == "!=" else operator, (left, right))

    def listed(self) -> tuple[Expression, ...]:
        """Expressions in parentheses; the first one is taken already."""
        found: list[Expression] = []
        while not self._reader.sign(")"):
            found.append(self.parse())
            self._reader.sign(",")
        return tuple(found)

    def _interval(self) -> Interval | None:
        if not self._reader.words("INTERVAL"):
            return None
        return Interval(self.parse(), self._reader.name().upper())

    def _tested(self, left: Expression) -> Expression | None:
        """The tests with words: IS NULL, IN and BETWEEN."""
        reader = self._reader
        if reader.words("IS"):
            negated = reader.words("NOT")
            reader.expect("NULL")
            found = Operation("IS NULL", (left,))
            return Operation("NOT", (found,)) if negated else found
        negated = reader.words("NOT")
        if reader.words("IN"):
            return self._member(left, negated)
        if reader.words("BETWEEN"):
            low = self.parse(COMPARISON + 1)
            reader.expect("AND")
            high = self.parse(COMPARISON + 1)
            return Operation("AND", (Operation(">=", (left, low)), Operation("<=", (left, high))))
        return None

    def _member(self, left: Expression, negated: bool) -> Member:
        reader = self._reader
        reader.expect("(")
        kind = _kind(reader)
        if reader.next.kind == "list":
            index = int(reader.take().text)
            reader.expect(")")
            return Member(left, (Param(index, kind),), True, negated)
        if kind != "plain":
            options: tuple[Expression, ...] = (Param(int(reader.take().text), kind),)
            reader.sign(",")
            return Member(left, options + self.listed(), False, negated)
        return Member(left, self.listed(), False, negated)

    def _primary(self) -> Expression:
        reader = self._reader
        if reader.sign("("):
            if reader.next.is_word("SELECT"):
                query = self._query()
                reader.expect(")")
                return Subquery(query)
            inner = self.parse()
            reader.expect(")")
            return inner
        if reader.sign("-"):
            return Operation("NEGATIVE", (self._primary(),))
        kind = _kind(reader)
        token = reader.take()
        if token.kind == "param":
            return Param(int(token.text), kind)
        if token.kind == "variable":
            return Variable(token.text)
        if token.kind not in ("word", "quoted"):
            raise error(1064, token.text)
        return self._named(token)

    def _named(self, token: Token) -> Expression:
        reader, name = self._reader, token.text.upper()
        if token.kind == "word":
            if name == "EXISTS":
                reader.expect("(")
                query = self._query()
                reader.expect(")")
                return Subquery(query, exists=True)
            if name in CONSTANTS:
                return Constant(CONSTANTS[name])
            if reader.sign("("):
                return self._call(name)
        if reader.sign("."):
            return Column(reader.name(), token.text)
        return Column(token.text)

    def _call(self, name: str) -> Call:
        reader = self._reader
        if reader.sign("*"):
            reader.expect(")")
            return Call(name, (), star=True)
        if name == "CAST":
            value = self.parse()
            reader.expect("AS")
            kind = reader.name().upper()
            reader.expect(")")
            return Call(f"CAST AS {kind}", (value,))
        return Call(name, self.listed())


def _kind(reader: Reader) -> Literal["plain", "binary", "hex"]:
    """Take what comes before a string that is not a plain one."""
    if reader.next.text.lower() in ("_binary", "x") and reader.following_kind in ("param", "list"):
        return "binary" if reader.take().text.lower() == "_binary" else "hex"
    return "plain"
