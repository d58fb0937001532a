"""Finds who may read or operate, by token: apart from the clients that post events."""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from ingest.auth.scopes import POST
from ingest.auth.tokens import Token


class Reader(msgspec.Struct, frozen=True):
    name: str
    scopes: frozenset[str]


class Readers:
    """The tokens of the database with another scope than `post`, looked up by their SHA-256.

    The duration of a look-up says nothing about a token, because nobody can choose a hash.
    """

    def __init__(self) -> None:
        self._readers: dict[bytes, Reader] = {}

    def use(self, tokens: Iterable[Token]) -> None:
        """Replace the valid tokens."""
        self._readers = {token.digest: Reader(token.name, token.scopes) for token in tokens if POST not in token.scopes}

    def reader_of(self, token: str | None) -> Reader | None:
        """Return who has this token, as it was sent."""
        return self._readers.get(sha256(token.encode()).digest()) if token else None
