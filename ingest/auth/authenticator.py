"""Authenticates clients by their tokens, and counts what each client sends."""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2s, sha256

from ingest.auth.rate_limit import TokenBucket
from ingest.auth.tokens import CONFIGURED, PREFIX, Token, split
from ingest.clock import Monotonic
from ingest.events.headers import TOKEN, MessageHeaders


class Client:
    """All tokens of one name, with their rate limit and their counts in this worker."""

    __slots__ = ("bucket", "events", "limited", "message_headers", "name")

    def __init__(self, name: str, bucket: TokenBucket | None = None) -> None:
        self.name = name
        self.message_headers: MessageHeaders | None = None if name == CONFIGURED else {TOKEN: name}
        """Every message of the client's events has these headers."""
        self.bucket = bucket
        self.events = 0
        """The number of accepted events."""
        self.limited = 0
        """The number of requests refused because of the rate limit."""


class Authenticator:
    """Finds the client of a token. It keeps only digests of tokens.

    It compares all configured tokens in constant time. The database may hold many tokens, so it looks them up by
    digest. The duration of a look-up says nothing about a token either.

    Plain-text tokens are compared by BLAKE2s, which is built into Python. SHA-256 goes through OpenSSL, where finding
    the algorithm takes longer than the hash itself. It is computed only if there are hashed entries or tokens of the
    database, and once for each valid token.
    """

    def __init__(self, configured: Iterable[str], monotonic: Monotonic) -> None:
        plain, hashed = split(configured)
        self._monotonic = monotonic
        self._configured = Client(CONFIGURED)
        self._plain = [blake2s(token.encode()).digest() for token in plain]
        self._hashed = [bytes.fromhex(entry.removeprefix(PREFIX)) for entry in hashed]
        self._known: dict[str, Client] = {}
        """All clients that ever had a token here. The counts of a client outlive its tokens."""
        self._buckets: dict[str, TokenBucket] = {}
        """All buckets that a client ever had here. A bucket outlives its rate limit."""
        self._table: dict[bytes, Client] = {}
        """Clients by the SHA-256 of the database's tokens."""
        self._quick: dict[bytes, Client] = {}
        """Clients by the BLAKE2s of the valid tokens that were sent so far."""

    @property
    def clients(self) -> Sequence[Client]:
        return [self._configured, *self._known.values()]

    def client_of(self, token: str | None) -> Client | None:
        """Return the client of a token as it was sent, or None if the token is not valid."""
        encoded = (token or "").encode()
        given = blake2s(encoded).digest()
        found = False
        for digest in self._plain:
            found |= hmac.compare_digest(digest, given)
        if self._hashed or self._table:
            client = self._quick.get(given)
            if client:
                return client
            return self._find(encoded, given, found) if token is not None else None
        return self._configured if found and token is not None else None

    def _find(self, encoded: bytes, quick: bytes, found: bool) -> Client | None:
        given = sha256(encoded).digest()
        for digest in self._hashed:
            found |= hmac.compare_digest(digest, given)
        client = self._configured if found else self._table.get(given)
        if client:
            self._quick[quick] = client
        return client

    def use(self, tokens: Sequence[Token]) -> None:
        """Replace the valid tokens of the database; `tokens` are sorted oldest first.

        Clients keep their counts. All tokens of a client share one bucket, with the limits of the newest token.
        """
        newest = {token.name: token for token in tokens}
        self._table = {token.digest: self._client(token.name) for token in tokens}
        for name, client in self._known.items():
            client.bucket = self._bucket(newest[name]) if name in newest else None
        self._quick.clear()

    def buckets(self) -> Mapping[str, TokenBucket]:
        """The buckets of the clients that have a rate limit, by name."""
        return {name: client.bucket for name, client in self._known.items() if client.bucket}

    def _client(self, name: str) -> Client:
        return self._known.setdefault(name, Client(name))

    def _bucket(self, token: Token) -> TokenBucket | None:
        """Return the bucket of the token's name. A change of the limits does not refill it."""
        rate = token.events_per_second
        if rate is None:
            return None
        burst = token.burst or rate
        bucket = self._buckets.setdefault(token.name, TokenBucket(rate, burst, self._monotonic))
        if (bucket.rate, bucket.burst) != (rate, burst):
            bucket.limit(rate, burst)
        return bucket
