"""Tokens of clients: an operator changes those of the database. A worker must let in whom it knows, and nobody else.

A worker reads the table twice a second. The world notes what it read, so it knows of each request what must happen.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ingest.auth.scopes import POST, READ
from ingest.auth.token_refresh import POLL_SECONDS
from ingest.auth.tokens import PREFIX, Token, TokenTable, digest_of
from ingest.clock import unix_us
from ingest.errors import StoreError
from tests.simulation.chance import Chance
from tests.simulation.ledger import check
from tests.simulation.machine.loop import SimulatedLoop
from tests.simulation.machine.nodes import Node

if TYPE_CHECKING:
    from tests.simulation.workers import Life

TOKEN, HASHED_TOKEN = "token-of-the-simulation", "hashed-token-of-the-simulation"
CONFIGURED = (TOKEN, PREFIX + digest_of(HASHED_TOKEN).hex())
"""The value of INGEST_API_TOKENS."""
FIRST_TOKENS, CHANGES = 3, 8
PAUSE_SECONDS = (0.3, 2.5)
LIVES_SECONDS = (0.5, 6.0)
"""A token that expires does so after this time."""
NAMES = 2
UNAUTHENTICATED = 401
IDLE_SECONDS_MAX = 2 * POLL_SECONDS
"""A worker that does not read the table begins to within this time."""
READ_SECONDS_MAX = 2.5
"""A read ends within this time, also if the database does not answer: its deadline is 1 s, and a lock may wait."""
SAVED_SECONDS = 3.0
"""The node's file has the tokens that a worker read this long ago. A worker that starts there knows it."""
LATE_SECONDS = IDLE_SECONDS_MAX + READ_SECONDS_MAX
"""A worker notices within this time that a token has expired, or that its clock was set."""

Expiry = Mapping[bytes, int | None]
"""Digest of a token → its expiry in Unix microseconds."""


class Secret(msgspec.Struct, frozen=True):
    text: str
    digest: bytes
    posts: bool = True
    """False if its scope is another one."""


STATIC = (Secret(TOKEN, digest_of(TOKEN)), Secret(HASHED_TOKEN, digest_of(HASHED_TOKEN)))


class TokenReads:
    """The tokens that one worker has read. `table` has the number of changes in the database, and the tokens now."""

    def __init__(self, loop: SimulatedLoop, node: Node, table: Callable[[], tuple[int, Expiry]]) -> None:
        self.known: Expiry = {}
        self.has_read = False
        self.wrong: str | None = None
        self._at_start = node.tokens_saved_by(loop.time() - SAVED_SECONDS)
        """The tokens that the worker must find in the file of its node."""
        self._loop = loop
        self._node = node
        self._table = table
        self._reads = self._saves = False
        self._since = loop.time()
        """When the last read began or ended."""
        self._looked_us = 0
        """When the worker looked for expired tokens, by its clock: after each read, also one that fails."""

    def watch(self, store: TokenTable) -> None:
        """Note what this store reads."""
        read = store.tokens

        async def tokens() -> list[Token]:
            if self._saves:  # the worker lives, so it has saved what it read last
                self._node.save_tokens(self.known, self._loop.time())
            self._reads, self._since = True, self._loop.time()
            changes, before = self._table()
            try:
                found = await read()
            except StoreError:
                self._looked_us = unix_us()
                raise
            finally:
                self._reads, self._since = False, self._loop.time()
            self._looked_us = unix_us()
            self.known = {token.digest: token.expires_us for token in found}
            if changes == self._table()[0] and self.known != before:
                self.wrong = f"a worker reads the tokens {found}, and the table has {before}"
            self.has_read, self._saves = True, not self._node.disk_fails
            return found

        store.tokens = tokens  # type: ignore[method-assign]

    @property
    def table(self) -> Expiry:
        return self._table()[1]

    @property
    def is_late(self) -> bool:
        """The worker does not read the table as often as it should."""
        return self._loop.time() - self._since > (READ_SECONDS_MAX if self._reads else IDLE_SECONDS_MAX)

    def lets_in(self, secret: Secret, now_us: int) -> bool | None:
        """Decide whether a request with this token must be admitted; None if it may be. `now_us` is its clock."""
        if secret in STATIC:
            return True
        return self.is_valid(secret, now_us) if secret.posts else False

    def is_valid(self, secret: Secret, now_us: int) -> bool | None:
        """The worker must take this token of the database for valid, or must not, or may."""
        known = self.known
        if not self.has_read:
            table = self.table
            known = {one: until for one, until in self._at_start.items() if table.get(one, 0) == until}
        if secret.digest not in known:
            return False if self.has_read else None
        until_us = known[secret.digest]
        if until_us is None:
            return True
        if until_us <= self._looked_us:
            return False
        if self._loop.time() - self._node.clock_stepped_at < LATE_SECONDS:
            return None
        if now_us < until_us:
            return True
        return False if now_us > until_us + LATE_SECONDS * 1e6 + self._node.clock_grain_us else None


class Operator:
    """Adds tokens to the database, lets them expire, and removes them, as `ingest tokens` does."""

    def __init__(self, chance: Chance, table: TokenTable) -> None:
        self.secrets: list[Secret] = []
        self._chance = chance
        self._table = table

    async def run(self, say: Callable[[str], None]) -> None:
        for number in range(CHANGES):
            change = self._add
            if number >= FIRST_TOKENS:
                await asyncio.sleep(self._chance.seconds("operator pauses", *PAUSE_SECONDS))
                change = (self._add, self._expire, self._remove)[self._chance.pick("change of tokens", 3)]
            try:
                say(f"tokens: {await change()}")
            except StoreError as exc:
                say(f"tokens: {change.__name__[1:]} failed, or not: {exc}")

    def pick(self) -> Secret:
        """A token for a request: one of the configured ones, or any that the database has or had."""
        number = self._chance.pick("token of a request", 4)
        if number < 2 or not self.secrets:
            return STATIC[number % 2]
        return self.secrets[self._chance.pick("token of the database", len(self.secrets))]

    async def _add(self) -> str:
        chance, number = self._chance, len(self.secrets)
        text = f"token-{number}-of-the-database"
        secret = Secret(text, digest_of(text), chance.pick("scope of a token", 5) < 4)
        lives = chance.seconds("token lives for", *LIVES_SECONDS)
        self.secrets.append(secret)
        now_us = unix_us()
        until_us = now_us + int(lives * 1e6) if chance.pick("token expires", 3) == 2 else None
        scope = POST if secret.posts else READ
        name = f"tenant-{number % NAMES}" if secret.posts else f"reader-{number}"
        await self._table.add_token(Token(secret.digest, name, now_us, until_us, scope=scope))
        return f"{text} is added"

    async def _expire(self) -> str:
        secret, grace = self._any(), self._chance.seconds("token expires in", 0.0, 2.0)
        await self._table.expire_tokens([secret.digest], unix_us() + int(grace * 1e6))
        return f"{secret.text} expires in {grace:.1f} s"

    async def _remove(self) -> str:
        secret = self._any()
        await self._table.remove_tokens([secret.digest])
        return f"{secret.text} is removed"

    def _any(self) -> Secret:
        return self.secrets[self._chance.pick("token to change", len(self.secrets))]


class Visit:
    """A request, and what its token must lead to."""

    def __init__(self, life: "Life", secret: Secret) -> None:
        self.secret = secret
        self.admitted: bool | None = None
        self._life = life

    def begin(self) -> None:
        """The worker looks at the token now. Called in its process."""
        life = self._life
        self.admitted = life.token_reads.lets_in(self.secret, unix_us())
        if life.was_stopped and life.token_reads.known.get(self.secret.digest) is not None:
            self.admitted = None  # it may not have looked at its clock since

    def problem(self, status: int) -> str | None:
        """Say how this answer breaks the promise."""
        reads, name = self._life.token_reads, self.secret.text
        if reads.wrong:
            return reads.wrong
        if reads.is_late and self._life.accepting and not self._life.was_stopped:
            return "a worker does not read the tokens"
        if self.admitted is True and status == UNAUTHENTICATED:
            return f"a valid token was refused: {name}"
        if self.admitted is False and status != UNAUTHENTICATED:
            return f"a token that is not valid was answered {status}: {name}"
        return None


class Admission:
    """Gives each request a token, and checks whom the workers let in. Only an operator makes changes."""

    def __init__(self, operator: Operator | None, broken: Callable[[str], None]) -> None:
        self._operator = operator
        self._broken = broken

    def secret(self) -> Secret:
        return self._operator.pick() if self._operator else STATIC[0]

    def answered(self, visit: Visit, status: int) -> None:
        if problem := visit.problem(status):
            self._broken(problem)

    def left(self, life: "Life") -> str | None:
        """The changes that this worker has not noticed yet."""
        reads = life.token_reads
        if self._operator and (reads.known != reads.table or reads.is_late):  # it may have been frozen until now
            return f"{life.process.name} does not know the tokens"
        return None

    def check(self, life: "Life", now_us: int) -> None:
        """Check all tokens there ever were. `now_us` is the worker's clock."""
        pipeline = life.pipeline
        if self._operator is None or pipeline is None:
            return
        for secret in self._operator.secrets:
            valid = life.token_reads.is_valid(secret, now_us)
            posts = pipeline.authenticator.client_of(secret.text) is not None
            reads = pipeline.readers.reader_of(secret.text) is not None
            good = posts == (secret.posts and valid) and reads == (valid and not secret.posts)
            check(good or valid is None, "{} is valid: {}. It posts: {}, reads: {}", secret.text, valid, posts, reads)
