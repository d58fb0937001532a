"""Which tokens clients may send; compared in constant time, all of them, without an early exit."""

import hmac
from collections.abc import Iterable
from hashlib import sha256


class Tokens:
    """Keeps digests only, so that neither length nor content of a token shows in the time taken."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = [sha256(token.encode()).digest() for token in tokens]

    def accepts(self, token: bytes | None) -> bool:
        """Whether `token`, as sent, is one of ours."""
        given = sha256(token or b"").digest()
        found = False
        for digest in self._digests:
            found |= hmac.compare_digest(digest, given)
        return found and token is not None
