"""Who may send: the tokens of the configuration and of the database, and what each name has sent."""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2s, sha256

from ingest.auth.rate_limit import TokenBucket
from ingest.auth.tokens import CONFIGURED, PREFIX, Token, split
from ingest.clock import Monotonic
from ingest.events.headers import TOKEN, MessageHeaders


class Client:
    """What the tokens of one name may do, and have done in this worker."""

    __slots__ = ("bucket", "events", "limited", "message_headers", "name")

    def __init__(self, name: str, bucket: TokenBucket | None = None) -> None:
        self.name = name
        self.message_headers: MessageHeaders | None = None if name == CONFIGURED else {TOKEN: name}
        """By every message of its events."""
        self.bucket = bucket
        self.events = 0
        """Accepted."""
        self.limited = 0
        """Requests refused for their rate."""


class Authenticator:
    """Finds the grant of a token.

    The tokens of the configuration are compared in constant time, all of them. Those of the database may be many: they
    are looked up by their digest, so that the time it takes tells nothing about a token either. Only digests are kept.

    Of tokens in plain text that is a BLAKE2s, because Python has it built in: a SHA-256 goes through OpenSSL, which
    takes longer to find it than to compute it. It is made where a hashed entry asks for it, once for each valid token.
    """

    def __init__(self, configured: Iterable[str], monotonic: Monotonic) -> None:
        plain, hashed = split(configured)
        self._monotonic = monotonic
        self._configured = Client(CONFIGURED)
        self._plain = [blake2s(token.encode()).digest() for token in plain]
        self._hashed = [bytes.fromhex(entry.removeprefix(PREFIX)) for entry in hashed]
        self._known: dict[str, Client] = {}
        """Of all names that ever had a token here: what one has sent outlasts its tokens."""
        self._buckets: dict[str, TokenBucket] = {}
        """Of all names that ever had a rate here, for the same reason."""
        self._table: dict[bytes, Client] = {}
        """By SHA-256."""
        self._quick: dict[bytes, Client] = {}
        """The same by BLAKE2s, as far as they were sent."""

    @property
    def all(self) -> Sequence[Client]:
        return [self._configured, *self._known.values()]

    def client_of(self, token: str | None) -> Client | None:
        """None if `token`, as sent, is no valid one."""
        encoded = (token or "").encode()
        given = blake2s(encoded).digest()
        found = False
        for digest in self._plain:
            found |= hmac.compare_digest(digest, given)
        if self._hashed or self._table:
            client = self._quick.get(given)
            if client:
                return client
            return self._by_sha256(encoded, given, found) if token is not None else None
        return self._configured if found and token is not None else None

    def _by_sha256(self, encoded: bytes, quick: bytes, found: bool) -> Client | None:
        given = sha256(encoded).digest()
        for digest in self._hashed:
            found |= hmac.compare_digest(digest, given)
        client = self._configured if found else self._table.get(given)
        if client:
            self._quick[quick] = client
        return client

    def use(self, tokens: Sequence[Token]) -> None:
        """From now on these tokens of the database, oldest first, are valid, and no others.

        What a name has sent is kept. All tokens of a name share one bucket, with the limits of its newest one.
        """
        newest = {token.name: token for token in tokens}
        self._table = {token.digest: self._grant(token.name) for token in tokens}
        for name, client in self._known.items():
            client.bucket = self._bucket(newest[name]) if name in newest else None
        self._quick.clear()

    def buckets(self) -> Mapping[str, TokenBucket]:
        """Of the names that have a rate."""
        return {name: client.bucket for name, client in self._known.items() if client.bucket}

    def _grant(self, name: str) -> Client:
        return self._known.setdefault(name, Client(name))

    def _bucket(self, token: Token) -> TokenBucket | None:
        """A change of the limits changes nothing of what was taken."""
        rate = token.events_per_second
        if rate is None:
            return None
        burst = token.burst or rate
        bucket = self._buckets.setdefault(token.name, TokenBucket(rate, burst, self._monotonic))
        if (bucket.rate, bucket.burst) != (rate, burst):
            bucket.limit(rate, burst)
        return bucket
