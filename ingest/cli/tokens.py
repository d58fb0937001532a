"""`ingest tokens create|list|revoke|rotate`: what they do to the table, and what they say."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from ingest.auth.token_refresh import POLL_SECONDS
from ingest.auth.tokens import CONFIGURED, NAME, Token, TokenTable, digest_of, new_secret
from ingest.cli.duration import seconds_of
from ingest.clock import unix_us
from ingest.errors import SettingsError
from ingest.server.wiring import with_store
from ingest.settings import Settings

EFFECTIVE_SECONDS = 2 * POLL_SECONDS
"""All workers have looked by then."""


def create(settings: Settings, name: str, expires: str | None, rate: int | None, burst: int | None) -> str:
    """The new token, which is shown this once."""
    if not NAME.fullmatch(name) or name == CONFIGURED:
        raise SettingsError(
            f"{name!r} is no name: 1 to 64 letters, digits, dots, dashes and underscores, and not {CONFIGURED!r}."
        )
    if burst is not None and rate is None:
        raise SettingsError("--burst is of a rate: give --events-per-second, too.")
    secret = new_secret()
    seconds = None if expires is None else seconds_of(expires)

    async def add(table: TokenTable) -> None:
        now_us = await table.clock_us()
        ends_us = None if seconds is None else now_us + seconds * 1_000_000
        await table.add_token(Token(digest_of(secret), name, now_us, ends_us, rate, burst))
        await asyncio.sleep(EFFECTIVE_SECONDS)

    with_store(settings, add)
    return secret


def rotate(settings: Settings, name: str, grace: str) -> str:
    """A new token of this name, with the rate of its newest; the older ones expire after the grace."""
    secret, seconds = new_secret(), seconds_of(grace)

    async def replace(table: TokenTable) -> None:
        now_us = await table.clock_us()
        old = [token for token in await table.tokens() if token.name == name and token.is_valid(now_us)]
        if not old:
            raise SettingsError(f"There is no valid token named {name!r}; `ingest tokens list` shows all.")
        limits = (old[-1].events_per_second, old[-1].burst)
        await table.add_token(Token(digest_of(secret), name, now_us, None, *limits))
        await table.expire_tokens([token.digest for token in old], now_us + seconds * 1_000_000)
        await asyncio.sleep(EFFECTIVE_SECONDS)

    with_store(settings, replace)
    return secret


def revoke(settings: Settings, what: str) -> list[str]:
    """Remove the token of that number, or all of that name. A line for each."""

    async def remove(table: TokenTable) -> Sequence[Token]:
        found = [token for token in await table.tokens() if what in (token.name, token.number)]
        if not found:
            raise SettingsError(f"No token has the name or number {what!r}; `ingest tokens list` shows all.")
        await table.remove_tokens([token.digest for token in found])
        await asyncio.sleep(EFFECTIVE_SECONDS)
        return found

    return [f"revoked {token.number} ({token.name})" for token in with_store(settings, remove)]


def listed(settings: Settings) -> list[str]:
    """A line for each token, under a head."""

    async def read(table: TokenTable) -> Sequence[Token]:
        return await table.tokens()

    now_us = unix_us()
    tokens = with_store(settings, read, looks_only=True)
    rows: list[Sequence[str]] = [("number", "name", "created (UTC)", "expires (UTC)", "events/s", "burst")]
    rows += [_row(token, now_us) for token in tokens]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(token: Token, now_us: int) -> Sequence[str]:
    expires = "never" if token.expires_us is None else _minute(token.expires_us)
    if not token.is_valid(now_us):
        expires += " (expired)"
    limits = ("" if limit is None else str(limit) for limit in (token.events_per_second, token.burst))
    return (token.number, token.name, _minute(token.created_us), expires, *limits)


def _minute(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
