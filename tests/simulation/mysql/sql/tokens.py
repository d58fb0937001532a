"""The words and signs of a shape."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.simulation.mysql.errors import Unsupported, error

TOKEN = re.compile(
    r"(?P<space>\s+|/\*(?!M?!).*?\*/)|(?P<version>/\*M?!)(?P<number>\d*)|(?P<end>\*/)|`(?P<quoted>(?:[^`]|``)+)`"
    r"|(?P<variable>@@?[\w.]+)|(?P<word>[A-Za-z_]\w*)|(?P<param>\?\*?)"
    r"|(?P<sign><=>|<=|>=|<>|!=|>>|<<|:=|\d+|[-+*/%&|^=<>(),.~])",
    re.DOTALL,
)
MARIADB_SKIPS = range(50_700, 100_000)
"""MariaDB leaves out the text in comments for these versions, which are MySQL's."""


class Token(NamedTuple):
    """`kind` is word, quoted, variable, param, list, sign or end. A param's text is its index."""

    kind: str
    text: str

    def is_word(self, word: str) -> bool:
        return self.kind == "word" and self.text.upper() == word


END = Token("end", "")


def tokens_of(shape: str, mariadb: bool) -> list[Token]:
    """The tokens that this server reads. A comment for the other server is left out."""
    return [*_tokens(shape, mariadb), END]


def _tokens(shape: str, mariadb: bool) -> Iterator[Token]:
    at, params, skipping = 0, 0, False
    while at < len(shape):
        match = TOKEN.match(shape, at)
        if match is None:
            raise error(1064, shape[at : at + 80])
        at = match.end()
        if match["version"]:
            skipping = not _reads(match["version"], int(match["number"] or 0), mariadb)
        elif match["end"]:
            skipping = False
        elif match["param"]:
            if not skipping:
                yield Token("list" if match["param"] == "?*" else "param", str(params))
            params += 1
        elif match["space"]:
            params += match["space"].count("?")  # those of a comment
        elif not skipping:
            yield _token(match)


def _token(match: "re.Match[str]") -> Token:
    for kind in ("word", "sign", "variable"):
        if match[kind]:
            return Token(kind, match[kind])
    if match["quoted"]:
        return Token("quoted", match["quoted"].replace("``", "`"))
    raise Unsupported(match[0])


def _reads(begin: str, version: int, mariadb: bool) -> bool:
    if begin == "/*M!":
        return mariadb
    return not (mariadb and version in MARIADB_SKIPS)
