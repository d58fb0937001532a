"""Which tokens clients may send; compared in constant time, all of them, without an early exit."""

import hmac
import re
from collections.abc import Iterable
from hashlib import blake2s, sha256

from ingest.errors import SettingsError

PREFIX = "sha256:"
"""Begins an entry that is the SHA-256 of a token, so that who reads the configuration cannot send it."""

_HASHED = re.compile(PREFIX + "[0-9a-fA-F]{64}")


class Tokens:
    """Keeps digests only, so that neither length nor content of a token shows in the time taken.

    Of tokens in plain text a BLAKE2s, because Python has it built in: a SHA-256 goes through OpenSSL, which takes
    longer to find it than to compute it. It is made only where an entry asks for it.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        plain, hashed = split(entries)
        self._plain = [blake2s(token.encode()).digest() for token in plain]
        self._hashed = [bytes.fromhex(entry.removeprefix(PREFIX)) for entry in hashed]

    def accepts(self, token: str | None) -> bool:
        """Whether `token`, as sent, is one of ours."""
        encoded = (token or "").encode()
        found = False
        given = blake2s(encoded).digest()
        for digest in self._plain:
            found |= hmac.compare_digest(digest, given)
        if self._hashed:
            given = sha256(encoded).digest()
            for digest in self._hashed:
                found |= hmac.compare_digest(digest, given)
        return found and token is not None


def split(entries: Iterable[str]) -> tuple[list[str], list[str]]:
    """The tokens in plain text, and the hashed ones."""
    plain: list[str] = []
    hashed: list[str] = []
    for entry in entries:
        (hashed if entry.startswith(PREFIX) else plain).append(entry)
    return plain, hashed


def entry_of(line: str) -> str:
    """The hashed entry of the token in `line`, as `ingest tokens hash` reads it. Raises `SettingsError`.

    Without salt: a random token is no easier to find from its hash than by guessing it.
    """
    token = line.strip()
    if not token:
        raise SettingsError("There is no token on standard input: type one and press Enter.")
    if token.startswith(PREFIX):
        raise SettingsError(f"This begins with {PREFIX}, so it is an entry already, and no token.")
    if problem := problem_of(token):
        raise SettingsError(f"This is no token: {problem}")
    return PREFIX + sha256(token.encode()).hexdigest()


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
