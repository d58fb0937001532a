"""Tokens: how they are written in the configuration, and as the database keeps those that are made at run time."""

import re
import secrets
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Protocol

import msgspec

from ingest.errors import SettingsError

PREFIX = "sha256:"
"""Begins an entry that is the SHA-256 of a token, so that who reads the configuration cannot send it."""
SECRET_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
CONFIGURED = "configured"
"""The name of all tokens of INGEST_API_TOKENS."""

_HASHED = re.compile(PREFIX + "[0-9a-fA-F]{64}")


class Token(msgspec.Struct, frozen=True):
    """A token by its SHA-256. Times are Unix microseconds; no limit where `events_per_second` is None."""

    digest: bytes
    name: str
    created_us: int
    expires_us: int | None = None
    events_per_second: int | None = None
    burst: int | None = None

    @property
    def number(self) -> str:
        """What people call it by: eight hexadecimal digits of its hash."""
        return self.digest.hex()[:8]

    def is_valid(self, now_us: int) -> bool:
        return self.expires_us is None or now_us < self.expires_us


class TokenTable(Protocol):
    """Tokens that are made and withdrawn while the service runs.

    Errors and deadlines: see `ingest.outbox.base.Outbox`.
    """

    async def clock_us(self) -> int:
        """Unix microseconds by the database's clock, which all nodes share; SQLite's is this host's."""

    async def tokens(self) -> list[Token]:
        """All of them, expired ones too, oldest first."""

    async def add_token(self, token: Token) -> None: ...

    async def expire_tokens(self, digests: Sequence[bytes], expires_us: int) -> None:
        """Let them be valid until then, at most; unknown ones are ignored."""

    async def remove_tokens(self, digests: Sequence[bytes]) -> None:
        """Unknown ones are ignored."""


def new_secret() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(token: str) -> bytes:
    """Without salt: a random token is no easier to find from its hash than by guessing it."""
    return sha256(token.encode()).digest()


def split(entries: Iterable[str]) -> tuple[list[str], list[str]]:
    """The tokens in plain text, and the hashed ones."""
    plain: list[str] = []
    hashed: list[str] = []
    for entry in entries:
        (hashed if entry.startswith(PREFIX) else plain).append(entry)
    return plain, hashed


def digests_of(entries: Iterable[str]) -> list[bytes]:
    """The SHA-256 of each entry's token."""
    plain, hashed = split(entries)
    return [*map(digest_of, plain), *(bytes.fromhex(entry.removeprefix(PREFIX)) for entry in hashed)]


def entry_of(line: str) -> str:
    """The hashed entry of the token in `line`, as `ingest tokens hash` reads it. Raises `SettingsError`."""
    token = line.strip()
    if not token:
        raise SettingsError("There is no token on standard input: type one and press Enter.")
    if token.startswith(PREFIX):
        raise SettingsError(f"This begins with {PREFIX}, so it is an entry already, and no token.")
    if problem := problem_of(token):
        raise SettingsError(f"This is no token: {problem}")
    return PREFIX + digest_of(token).hex()


def problem_of(entry: str) -> str | None:
    """What is wrong with an entry, if anything, without showing it."""
    if entry.startswith(PREFIX):
        if _HASHED.fullmatch(entry):
            return None
        return f"after {PREFIX} come 64 hexadecimal digits, a token's SHA-256, as `ingest tokens hash` prints it."
    if not (entry.isascii() and entry.isprintable()):
        return "tokens are of visible ASCII characters, as all that a header may hold."
    return None


def warning_about(entries: Iterable[str]) -> str | None:
    """What to say of tokens in plain text, if there are any."""
    plain, hashes = split(entries)
    if not plain:
        return None
    return (
        f"{len(plain)} of {len(plain) + len(hashes)} tokens in INGEST_API_TOKENS are in plain text: replace each by "
        "what `ingest tokens hash` makes of it. Clients send the token as before."
    )
