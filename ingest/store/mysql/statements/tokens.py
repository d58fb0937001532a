"""SQL of client tokens."""

from collections.abc import Iterable

from ingest.auth.tokens import Token
from ingest.store.mysql.statements.literals import created_literal, hex_listed, quoted

READ = (
    b"SELECT digest, name, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_time), "
    b"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', expires_time), events_per_second, burst, scope "
    b"FROM ingest_tokens ORDER BY created_time, digest"
)
ADD = (
    b"INSERT INTO ingest_tokens (digest, name, created_time, expires_time, events_per_second, burst, scope) "
    b"VALUES (x'%b', %b, %b, %b, %b, %b, %b)"
)
EXPIRE = b"UPDATE ingest_tokens SET expires_time = LEAST(COALESCE(expires_time, %b), %b) WHERE digest IN (%b)"
REMOVE = b"DELETE FROM ingest_tokens WHERE digest IN (%b)"


def add(token: Token) -> bytes:
    created = created_literal(token.created_us)
    expires = b"NULL" if token.expires_us is None else created_literal(token.expires_us)
    limits = (b"NULL" if limit is None else b"%d" % limit for limit in (token.events_per_second, token.burst))
    name, scope = quoted(token.name.encode()), quoted(token.scope.encode())
    return ADD % (token.digest.hex().encode(), name, created, expires, *limits, scope)


def expire(digests: Iterable[bytes], expires_us: int) -> bytes:
    return EXPIRE % (created_literal(expires_us), created_literal(expires_us), hex_listed(digests))


def remove(digests: Iterable[bytes]) -> bytes:
    return REMOVE % hex_listed(digests)
