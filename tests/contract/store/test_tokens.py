"""The contract of every store's tokens (`ingest.store.base`), tested on each database."""

import pytest

from ingest.auth.tokens import Token
from ingest.errors import StoreError
from ingest.store.base import Store
from tests.contract.store.stores import Database

NOW_US = 1_738_331_100_123_456
FIRST = Token(b"\x00'\\" + b"a" * 29, "pbx.example-1", NOW_US)
SECOND = Token(
    b"b" * 32, "pbx.example-1", NOW_US + 1, NOW_US + 10, events_per_second=2_000_000_000, burst=1, scope="read,operate"
)


async def test_tokens_come_back_as_they_were_oldest_first(store: Store) -> None:
    for token in (SECOND, FIRST):
        await store.add_token(token)

    assert await store.tokens() == [FIRST, SECOND]


async def test_removed_tokens_are_gone(store: Store) -> None:
    for token in (FIRST, SECOND):
        await store.add_token(token)

    await store.remove_tokens([])
    await store.remove_tokens([FIRST.digest, b"unknown".ljust(32)])

    assert await store.tokens() == [SECOND]


async def test_expiry_is_brought_forward_and_never_put_off(store: Store) -> None:
    for token in (FIRST, SECOND):
        await store.add_token(token)

    await store.expire_tokens([], NOW_US)
    await store.expire_tokens([FIRST.digest, SECOND.digest], NOW_US + 20)

    assert [token.expires_us for token in await store.tokens()] == [NOW_US + 20, NOW_US + 10]


async def test_same_token_cannot_be_added_twice(store: Store) -> None:
    await store.add_token(FIRST)
    with pytest.raises(StoreError):
        await store.add_token(FIRST)


async def test_another_store_sees_them(store: Store, database: Database) -> None:
    await store.add_token(FIRST)
    other = database.store()
    try:
        assert await other.tokens() == [FIRST]
    finally:
        await other.close()
