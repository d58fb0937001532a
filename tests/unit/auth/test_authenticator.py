"""Whose token it is, if anybody's."""

from collections.abc import Sequence
from hashlib import sha256

import pytest

from ingest.auth.authenticator import Authenticator
from ingest.auth.rate_limit import TokenBucket
from ingest.auth.tokens import CONFIGURED, Token, digest_of, entry_of

FIRST, SECOND, THIRD = "first-token", "second.token", "third token"
WRONG = [None, "", "first-token ", "first-toke", "FIRST-TOKEN", "first-token,second.token", "\xff\x00"]


def grants_of(entries: Sequence[str], *tokens: Token) -> Authenticator:
    authenticator = Authenticator(entries, lambda: 0.0)
    authenticator.use(tokens)
    return authenticator


def kept(secret: str, name: str = "pbx", rate: int | None = None, burst: int | None = None) -> Token:
    """As the database has it."""
    return Token(digest_of(secret), name, created_us=0, events_per_second=rate, burst=burst)


OURS = grants_of([FIRST, entry_of(SECOND), entry_of(THIRD).upper().replace("SHA256:", "sha256:")])
PLAIN = grants_of([FIRST, SECOND])
KEPT = grants_of([FIRST], kept(SECOND), kept(THIRD, "other"))


@pytest.mark.parametrize("token", [FIRST, SECOND, THIRD] * 2)
def test_each_configured_token_is_accepted(token: str) -> None:
    client = OURS.client_of(token)
    assert client
    assert client.name == CONFIGURED


@pytest.mark.parametrize(("token", "name"), [(FIRST, CONFIGURED), (SECOND, "pbx"), (THIRD, "other")] * 2)
def test_tokens_of_the_database_have_their_names(token: str, name: str) -> None:
    client = KEPT.client_of(token)
    assert client
    assert client.name == name


@pytest.mark.parametrize("authenticator", [OURS, PLAIN, KEPT], ids=["some hashed", "all plain", "some kept"])
@pytest.mark.parametrize("token", WRONG)
def test_anything_else_is_not(authenticator: Authenticator, token: str | None) -> None:
    assert authenticator.client_of(token) is None


@pytest.mark.parametrize("sent", [entry_of(SECOND), sha256(SECOND.encode()).hexdigest()])
def test_what_stands_in_the_configuration_is_no_token(sent: str) -> None:
    assert OURS.client_of(sent) is None


@pytest.mark.parametrize("token", [None, "", "any"])
def test_without_tokens_nobody_is_let_in(token: str | None) -> None:
    assert grants_of([]).client_of(token) is None


def test_no_token_is_not_the_empty_token() -> None:
    assert grants_of([""]).client_of(None) is None
    assert grants_of(["sha256:" + sha256(b"").hexdigest()]).client_of(None) is None
    assert grants_of([], kept("")).client_of(None) is None


def test_tokens_are_not_kept_as_such() -> None:
    authenticator = grants_of([FIRST], kept(SECOND))
    authenticator.client_of(SECOND)

    assert FIRST not in repr(vars(authenticator))
    assert SECOND not in repr(vars(authenticator))


def test_withdrawn_token_is_none_at_once() -> None:
    authenticator = grants_of([FIRST], kept(SECOND), kept(THIRD))
    assert authenticator.client_of(SECOND)

    authenticator.use([kept(THIRD)])

    assert authenticator.client_of(SECOND) is None
    assert authenticator.client_of(FIRST)
    assert authenticator.client_of(THIRD)


def test_tokens_of_one_name_share_its_rate_and_its_counts() -> None:
    authenticator = grants_of([], kept(FIRST, rate=5), kept(SECOND, rate=7, burst=70))
    first, second = authenticator.client_of(FIRST), authenticator.client_of(SECOND)

    assert first is second
    assert first
    assert first.bucket
    assert (first.bucket.rate, first.bucket.burst) == (7, 70)


def test_counts_and_an_unchanged_rate_outlast_a_change_of_tokens() -> None:
    authenticator = grants_of([], kept(FIRST, rate=5))
    before = authenticator.client_of(FIRST)
    assert before
    before.events, bucket = 3, before.bucket

    authenticator.use([kept(FIRST, rate=5), kept(SECOND, "other")])

    after = authenticator.client_of(FIRST)
    assert after is before
    assert after.bucket is bucket
    authenticator.use([kept(FIRST)])
    assert before.bucket is None


def test_two_rates_of_one_name_are_one_bucket_that_no_change_of_the_table_refills() -> None:
    two = (kept(FIRST, rate=5, burst=50), kept(SECOND, rate=7, burst=70))
    authenticator = grants_of([], *two)
    bucket = bucket_of(authenticator, FIRST)
    bucket.take(70)

    for _ in range(3):
        authenticator.use([*two, kept(THIRD, "other")])

    assert authenticator.buckets() == {"pbx": bucket}
    assert (bucket.rate, bucket.burst, bucket.taken) == (7, 70, 70)
    assert bucket.wait_seconds() > 0


@pytest.mark.parametrize("between", [[], [kept(FIRST)], [kept(FIRST, rate=1)]], ids=["no token", "no rate", "a lower"])
def test_limits_that_come_back_give_nothing_back(between: list[Token]) -> None:
    limited = kept(FIRST, rate=10, burst=100)
    authenticator = grants_of([], limited)
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
