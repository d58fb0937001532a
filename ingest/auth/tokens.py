"""Tokens: their entries in the configuration, and their records in the database."""

import re
import secrets
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Protocol

import msgspec

from ingest.auth.scopes import POST, scopes_of
from ingest.errors import SettingsError
from ingest.events import headers

PREFIX = "sha256:"
"""The prefix of an entry that has only the SHA-256 of a token. A reader of the configuration cannot use it."""
SECRET_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
CONFIGURED = headers.CONFIGURED

_HASHED = re.compile(PREFIX + "[0-9a-fA-F]{64}")


class Token(msgspec.Struct, frozen=True):
    """A token, by its SHA-256. Times are Unix microseconds. There is no rate limit if `events_per_second` is None."""

    digest: bytes
    name: str
    created_us: int
    expires_us: int | None = None
    events_per_second: int | None = None
    burst: int | None = None
    scope: str = POST
    """Scopes, separated by commas; see `ingest.auth.scopes`."""

    @property
    def scopes(self) -> frozenset[str]:
        return scopes_of(self.scope)

    @property
    def short_id(self) -> str:
        """The short id shown to operators: the first 8 hexadecimal digits of the hash."""
        return self.digest.hex()[:8]

    def is_valid(self, now_us: int) -> bool:
        return self.expires_us is None or now_us < self.expires_us


class TokenTable(Protocol):
    """The database table of tokens. Operators create and revoke tokens while the service runs.

    Errors and deadlines: see `ingest.outbox.base.Outbox`.
    """

    async def clock_us(self) -> int:
        """Unix microseconds of the database's clock, which all nodes share. SQLite has the clock of this host."""

    async def tokens(self) -> list[Token]:
        """All tokens, including expired ones, oldest first."""

    async def add_token(self, token: Token) -> None: ...

    async def expire_tokens(self, digests: Sequence[bytes], expires_us: int) -> None:
        """Let the tokens expire at that time at the latest. Unknown tokens are ignored."""

    async def remove_tokens(self, digests: Sequence[bytes]) -> None:
        """Unknown tokens are ignored."""


def new_secret() -> str:
    """Return a random token that cannot be guessed."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(token: str) -> bytes:
    """Hash a token. It needs no salt, because a random token cannot be found from its hash."""
    return sha256(token.encode()).digest()


def split(entries: Iterable[str]) -> tuple[list[str], list[str]]:
    """Separate the plain-text entries from the hashed ones."""
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
    """The hashed entry of the token in `line`, which `ingest tokens hash` reads. Raises `SettingsError`."""
    token = line.strip()
    if not token:
        raise SettingsError("Standard input has no token: type one and press Enter.")
    if token.startswith(PREFIX):
        raise SettingsError(f"The input begins with {PREFIX}, so it is a hashed entry and not a token.")
    if problem := problem_of(token):
        raise SettingsError(f"The input is not a token: {problem}")
    return PREFIX + digest_of(token).hex()


def problem_of(entry: str) -> str | None:
    """Describe the problem of an entry without showing the entry. None if it is valid."""
    if entry.startswith(PREFIX):
        if _HASHED.fullmatch(entry):
            return None
        return f"{PREFIX} must be followed by 64 hexadecimal digits, as `ingest tokens hash` prints them."
    if not (entry.isascii() and entry.isprintable()):
        return "a token may have only visible ASCII characters, because it is sent in a header."
    return None


def warning_about(entries: Iterable[str]) -> str | None:
    """A warning if any token is in plain text, else None."""
    plain, hashes = split(entries)
    if not plain:
        return None
    return (
        f"{len(plain)} of {len(plain) + len(hashes)} tokens in INGEST_API_TOKENS are in plain text. Replace each "
        "with the output of `ingest tokens hash`. Clients send the same token as before."
    )
