"""The commands of `ingest tokens`."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from ingest.audit.operator import operator
from ingest.audit.trail import TOKEN_IDS, AuditTrail
from ingest.auth.scopes import POST, SCOPES, scope_of
from ingest.auth.token_refresh import POLL_SECONDS
from ingest.auth.tokens import CONFIGURED, NAME, Token, TokenTable, digest_of, entry_of, new_secret
from ingest.cli.options import DURATION, Duration
from ingest.cli.shell.output import say
from ingest.cli.shell.parameters import COUNT
from ingest.cli.shell.targets import using
from ingest.clock import unix_us
from ingest.errors import SettingsError
from ingest.server.factories.store import audited, with_store
from ingest.settings import Settings

EFFECTIVE_SECONDS = 2 * POLL_SECONDS
"""All workers have read the table by then."""
HEAD = ("short id", "name", "created (UTC)", "expires (UTC)", "events/s", "burst", "scope")


@click.group()
def tokens() -> None:
    """Create, list, rotate or revoke the tokens of clients."""


@tokens.command("hash", short_help="Print the entry for INGEST_API_TOKENS that hides a token.")
def tokens_hash() -> None:
    """Read a token from standard input and print its hash, an entry for INGEST_API_TOKENS.

    Clients send the token as before. The configuration does not reveal it.
    """
    line = click.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    say(entry_of(line))


@tokens.command("create", short_help="Create a token and print it once.")
@click.argument("name")
@click.option("--expires", type=DURATION, help="Lifetime, such as 30d or 12h; by default unlimited.")
@click.option("--events-per-second", type=COUNT, help="Rate that all tokens of this name share.")
@click.option("--burst", type=COUNT, help="Events at once after a pause; by default one second's worth.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=[POST],
    show_default=True,
    type=click.Choice(SCOPES),
    help="What the token may do; read, read-numbers and operate may be given together.",
)
@using("database")
def tokens_create(
    settings: Settings,
    name: str,
    expires: Duration | None,
    events_per_second: int | None,
    burst: int | None,
    scopes: Sequence[str],
) -> None:
    """Create a token for NAME, such as a tenant or server, and print it. Only its hash is stored.

    All nodes accept the token when the command returns. The scope `post` takes events. `read` shows stored events with
    phone numbers masked, `read-numbers` shows them whole, and `operate` resends events and changes dead letters. All
    tokens of a name have the same scopes.
    """
    if not NAME.fullmatch(name) or name == CONFIGURED:
        raise SettingsError(
            f"{name!r} is no name: use 1 to 64 letters, digits, dots, dashes and underscores, but not {CONFIGURED!r}."
        )
    if burst is not None and events_per_second is None:
        raise SettingsError("--burst needs a rate: give --events-per-second too.")
    scope = scope_of(scopes)
    if scope != POST and events_per_second is not None:
        raise SettingsError("--events-per-second limits events: only the scope post takes them.")
    secret, actor = new_secret(), operator()

    async def add(table: TokenTable, trail: AuditTrail) -> None:
        now_us = await table.clock_us()
        ends_us = now_us + expires.seconds * 1_000_000 if expires else None
        if others := {token.scope for token in await table.tokens() if token.name == name} - {scope}:
            raise SettingsError(f"{name} has tokens of the scope {others.pop()}: choose another name for {scope}.")
        token = Token(digest_of(secret), name, now_us, ends_us, events_per_second, burst, scope)
        await trail.record(actor, "token.create", {"name": name, "scope": scope, TOKEN_IDS: [token.short_id]})
        await table.add_token(token)
        await asyncio.sleep(EFFECTIVE_SECONDS)

    audited(settings, add)
    say(secret)


@tokens.command("list")
@using("database")
def tokens_list(settings: Settings) -> None:
    """List the tokens in the database. Those of INGEST_API_TOKENS are not among them."""
    now_us = unix_us()
    found = with_store(settings, lambda table: table.tokens(), read_only=True)
    rows = [HEAD, *(_row(token, now_us) for token in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@tokens.command("revoke", short_help="Revoke tokens by name or short id.")
@click.argument("name_or_id")
@using("database")
def tokens_revoke(settings: Settings, name_or_id: str) -> None:
    """Revoke one token by its short id, or all tokens of a name. No node accepts them when the command returns."""

    actor = operator()

    async def remove(table: TokenTable, trail: AuditTrail) -> Sequence[Token]:
        found = [token for token in await table.tokens() if name_or_id in (token.name, token.short_id)]
        if not found:
            raise SettingsError(f"No token has the name or short id {name_or_id!r}; see `ingest tokens list`.")
        names = sorted({token.name for token in found})
        await trail.record(actor, "token.revoke", {"names": names, TOKEN_IDS: [token.short_id for token in found]})
        await table.remove_tokens([token.digest for token in found])
        await asyncio.sleep(EFFECTIVE_SECONDS)
        return found

    for token in audited(settings, remove):
        say(f"revoked {token.short_id} ({token.name})")


@tokens.command("rotate", short_help="Create a new token for a name; its older tokens expire.")
@click.argument("name")
@click.option("--grace", type=DURATION, default="24h", show_default=True, help="Time that older tokens stay valid.")
@using("database")
def tokens_rotate(settings: Settings, name: str, grace: Duration) -> None:
    """Create a new token for NAME with the same rate, and print it. The older tokens expire after the grace time."""
    secret, actor = new_secret(), operator()

    async def replace(table: TokenTable, trail: AuditTrail) -> None:
        now_us = await table.clock_us()
        old = [token for token in await table.tokens() if token.name == name and token.is_valid(now_us)]
        if not old:
            raise SettingsError(f"There is no valid token named {name!r}; see `ingest tokens list`.")
        limits = (old[-1].events_per_second, old[-1].burst)
        new = Token(digest_of(secret), name, now_us, None, *limits, old[-1].scope)
        ids = {
            TOKEN_IDS: [new.short_id],
            "older_ids": [token.short_id for token in old],
            "grace_seconds": grace.seconds,
        }
        await trail.record(actor, "token.rotate", {"name": name, **ids})
        await table.add_token(new)
        await table.expire_tokens([token.digest for token in old], now_us + grace.seconds * 1_000_000)
        await asyncio.sleep(EFFECTIVE_SECONDS)

    audited(settings, replace)
    say(secret)


def _row(token: Token, now_us: int) -> Sequence[str]:
    expires = "never" if token.expires_us is None else _minute(token.expires_us)
    if not token.is_valid(now_us):
        expires += " (expired)"
    limits = ("" if limit is None else str(limit) for limit in (token.events_per_second, token.burst))
    return (token.short_id, token.name, _minute(token.created_us), expires, *limits, token.scope)


def _minute(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
