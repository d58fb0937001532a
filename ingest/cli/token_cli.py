"""The commands of `ingest tokens`; what they do is in `ingest.cli.tokens` and `ingest.auth.tokens`."""

import os
import sys

import click

from ingest.settings import Settings, read_settings


@click.group()
def tokens() -> None:
    """The tokens that clients may send."""


@tokens.command("hash", short_help="Make an entry of INGEST_API_TOKENS that does not show the token.")
def tokens_hash() -> None:
    """Read a token from standard input and print the entry for INGEST_API_TOKENS that stands for it.

    Clients send the token as before; who reads the configuration cannot.
    """
    from ingest.auth.tokens import entry_of

    line = click.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    click.echo(entry_of(line))


@tokens.command("create", short_help="Make a token, and show it this once.")
@click.argument("name")
@click.option("--expires", metavar="TIME", help="Valid for so long, such as 30d or 12h; for ever without.")
@click.option("--events-per-second", type=click.IntRange(min=1), help="The rate that all tokens of this name share.")
@click.option("--burst", type=click.IntRange(min=1), help="Events at once after a pause; a second's worth without.")
def tokens_create(name: str, expires: str | None, events_per_second: int | None, burst: int | None) -> None:
    """Make a token of this NAME, one of a tenant or server, and print it: it is kept as a hash, so never again.

    It is valid on all nodes when the command returns.
    """
    from ingest.cli.tokens import create

    click.echo(create(_settings(), name, expires, events_per_second, burst))


@tokens.command("list")
def tokens_list() -> None:
    """List the tokens of the database; those of INGEST_API_TOKENS are not among them."""
    from ingest.cli.tokens import listed

    for line in listed(_settings()):
        click.echo(line)


@tokens.command("revoke", short_help="Withdraw tokens by name or number.")
@click.argument("name_or_number")
def tokens_revoke(name_or_number: str) -> None:
    """Withdraw the token of this number, or all tokens of this name: no node takes them when the command returns."""
    from ingest.cli.tokens import revoke

    for line in revoke(_settings(), name_or_number):
        click.echo(line)


@tokens.command("rotate", short_help="Make a new token in place of a name's others.")
@click.argument("name")
@click.option("--grace", default="24h", show_default=True, help="How long the older ones stay valid.")
def tokens_rotate(name: str, grace: str) -> None:
    """Make a new token of this NAME, with the same rate, and print it; the older ones expire after the grace."""
    from ingest.cli.tokens import rotate

    click.echo(rotate(_settings(), name, grace))


def _settings() -> Settings:
    return read_settings(os.environ)
