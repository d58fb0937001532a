"""The scopes of tokens. A token that takes events shows none, and one that shows events takes none."""

from collections.abc import Iterable

from ingest.errors import SettingsError

POST, READ, READ_NUMBERS, OPERATE = "post", "read", "read-numbers", "operate"
SCOPES = (POST, READ, READ_NUMBERS, OPERATE)
"""- `post` takes events. Tokens of `INGEST_API_TOKENS` have this scope.
- `read` shows stored events with their phone numbers masked.
- `read-numbers` does the same with whole phone numbers.
- `operate` resends events, and lists, retries and drops dead letters.
"""


def scope_of(scopes: Iterable[str]) -> str:
    """The scopes as the table keeps them. Raises `SettingsError`."""
    chosen = set(scopes)
    if POST in chosen and len(chosen) > 1:
        raise SettingsError("The scope post stands alone: a token that takes events must not show them.")
    return ",".join(scope for scope in SCOPES if scope in chosen)


def scopes_of(scope: str) -> frozenset[str]:
    """The inverse of `scope_of`. `read-numbers` includes `read`. A scope of a later version means nothing here."""
    found = frozenset(scope.split(",")) & frozenset(SCOPES)
    return found | {READ} if READ_NUMBERS in found else found
