"""The authenticator finds the client of each valid token."""

from collections.abc import Sequence
from hashlib import sha256

import pytest

from ingest.auth.authenticator import Authenticator
from ingest.auth.rate_limit import TokenBucket
from ingest.auth.tokens import CONFIGURED, Token, digest_of, entry_of

FIRST, SECOND, THIRD = "first-token", "second.token", "third token"
WRONG = [None, "", "first-token ", "first-toke", "FIRST-TOKEN", "first-token,second.token", "\xff\x00"]


def authenticator_with(entries: Sequence[str], *tokens: Token) -> Authenticator:
    authenticator = Authenticator(entries, lambda: 0.0)
    authenticator.use(tokens)
    return authenticator


def stored(secret: str, name: str = "pbx", rate: int | None = None, burst: int | None = None) -> Token:
    """A token of the database."""
    return Token(digest_of(secret), name, created_us=0, events_per_second=rate, burst=burst)


SOME_HASHED = authenticator_with([FIRST, entry_of(SECOND), entry_of(THIRD).upper().replace("SHA256:", "sha256:")])
ALL_PLAIN = authenticator_with([FIRST, SECOND])
IN_DATABASE = authenticator_with([FIRST], stored(SECOND), stored(THIRD, "other"))


@pytest.mark.parametrize("token", [FIRST, SECOND, THIRD] * 2)
def test_each_configured_token_is_accepted(token: str) -> None:
    client = SOME_HASHED.client_of(token)
    assert client
    assert client.name == CONFIGURED


@pytest.mark.parametrize(("token", "name"), [(FIRST, CONFIGURED), (SECOND, "pbx"), (THIRD, "other")] * 2)
def test_tokens_of_the_database_have_their_names(token: str, name: str) -> None:
    client = IN_DATABASE.client_of(token)
    assert client
    assert client.name == name


@pytest.mark.parametrize(
    "authenticator", [SOME_HASHED, ALL_PLAIN, IN_DATABASE], ids=["some hashed", "all plain", "in the database"]
)
@pytest.mark.parametrize("token", WRONG)
def test_other_tokens_are_refused(authenticator: Authenticator, token: str | None) -> None:
    assert authenticator.client_of(token) is None


@pytest.mark.parametrize("sent", [entry_of(SECOND), sha256(SECOND.encode()).hexdigest()])
def test_configured_hash_is_not_a_token(sent: str) -> None:
    assert SOME_HASHED.client_of(sent) is None


@pytest.mark.parametrize("token", [None, "", "any"])
def test_everything_is_refused_if_there_are_no_tokens(token: str | None) -> None:
    assert authenticator_with([]).client_of(token) is None


def test_missing_token_is_not_the_empty_token() -> None:
    assert authenticator_with([""]).client_of(None) is None
    assert authenticator_with(["sha256:" + sha256(b"").hexdigest()]).client_of(None) is None
    assert authenticator_with([], stored("")).client_of(None) is None


def test_only_digests_of_tokens_are_kept() -> None:
    authenticator = authenticator_with([FIRST], stored(SECOND))
    authenticator.client_of(SECOND)

    assert FIRST not in repr(vars(authenticator))
    assert SECOND not in repr(vars(authenticator))


def test_revoked_token_is_refused_at_once() -> None:
    authenticator = authenticator_with([FIRST], stored(SECOND), stored(THIRD))
    assert authenticator.client_of(SECOND)

    authenticator.use([stored(THIRD)])

    assert authenticator.client_of(SECOND) is None
    assert authenticator.client_of(FIRST)
    assert authenticator.client_of(THIRD)


def test_tokens_of_one_client_share_its_rate_and_counts() -> None:
    authenticator = authenticator_with([], stored(FIRST, rate=5), stored(SECOND, rate=7, burst=70))
    first, second = authenticator.client_of(FIRST), authenticator.client_of(SECOND)

    assert first is second
    assert first
    assert first.bucket
    assert (first.bucket.rate, first.bucket.burst) == (7, 70)


def test_counts_and_an_unchanged_rate_outlive_a_change_of_tokens() -> None:
    authenticator = authenticator_with([], stored(FIRST, rate=5))
    before = authenticator.client_of(FIRST)
    assert before
    before.events, bucket = 3, before.bucket

    authenticator.use([stored(FIRST, rate=5), stored(SECOND, "other")])

    after = authenticator.client_of(FIRST)
    assert after is before
    assert after.bucket is bucket
    authenticator.use([stored(FIRST)])
    assert before.bucket is None


def test_change_of_tokens_does_not_refill_the_shared_bucket() -> None:
    two = (stored(FIRST, rate=5, burst=50), stored(SECOND, rate=7, burst=70))
    authenticator = authenticator_with([], *two)
    bucket = bucket_of(authenticator, FIRST)
    bucket.take(70)

    for _ in range(3):
        authenticator.use([*two, stored(THIRD, "other")])

    assert authenticator.buckets() == {"pbx": bucket}
    assert (bucket.rate, bucket.burst, bucket.taken) == (7, 70, 70)
    assert bucket.wait_seconds() > 0


@pytest.mark.parametrize(
    "between", [[], [stored(FIRST)], [stored(FIRST, rate=1)]], ids=["no token", "no rate", "a lower"]
)
def test_restored_limits_do_not_refill_a_bucket(between: list[Token]) -> None:
    limited = stored(FIRST, rate=10, burst=100)
    authenticator = authenticator_with([], limited)
    bucket_of(authenticator, FIRST).take(100)

    authenticator.use(between)
    authenticator.use([limited])

    bucket = bucket_of(authenticator, FIRST)
    assert (bucket.rate, bucket.burst, bucket.taken) == (10, 100, 100)
    assert bucket.wait_seconds() > 0


def bucket_of(authenticator: Authenticator, secret: str) -> TokenBucket:
    client = authenticator.client_of(secret)
    assert client
    assert client.bucket
    return client.bucket
