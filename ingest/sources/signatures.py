"""Checks that a request is signed as its source's form says."""

import base64
import hashlib
import hmac
import re
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote, urlsplit

import msgspec

from ingest.errors import Malformed
from ingest.sources.base import Posted
from ingest.sources.bodies import pairs, query_value
from ingest.sources.form import Signature

_PART = re.compile(r"\{(body|url|separator|fields|time|nonce)\}")
_PORTS = {"http": 80, "https": 443}

Seconds = Callable[[], float]


class Verifier:
    """Knows the rule and the secret of one source."""

    def __init__(self, rule: Signature, secret: str, unix_seconds: Seconds = time.time) -> None:
        """Raises `SettingsError` for a secret that is no public key, where one is needed."""
        self._rule = rule
        self._secret = secret.encode()
        self._unix_seconds = unix_seconds
        self._pattern = re.compile(rule.pattern)
        self._signed = _PART.split(rule.signed)
        self._public_key = None
        if rule.kind == "ed25519":
            from ingest.sources.ed25519 import PublicKey

            self._public_key = PublicKey(secret)

    def is_signed(self, posted: Posted) -> bool:
        """Never raises: a request that cannot be read is not signed."""
        given = posted.headers.get(self._rule.header, "")
        if not given:
            return False
        try:
            return self._matches(given, posted)
        except (ValueError, Malformed, msgspec.MsgspecError):
            return False

    def _matches(self, given: str, posted: Posted) -> bool:
        rule = self._rule
        if rule.kind == "header":
            return hmac.compare_digest(given.encode(), self._secret)
        if rule.kind == "basic":
            return _has_password(given, self._secret)
        if rule.kind == "jwt":
            return self._is_token(given, posted)
        found = [match.groupdict() for match in self._pattern.finditer(given)]
        return any(self._is_signature(groups, posted) for groups in found)

    def _is_signature(self, groups: dict[str, str | None], posted: Posted) -> bool:
        rule = self._rule
        moment = groups.get("time") or posted.headers.get(rule.time_header, "")
        if rule.age_seconds_max and not self._is_recent(float(moment)):
            return False
        if rule.body_hash and not _has_body_hash(rule.body_hash, posted):
            return False
        signature = _decoded(str(groups["signature"]), rule.encoding)
        texts = self._texts(posted, moment)
        return any(self._signs(signature, text) for text in texts)

    def _signs(self, signature: bytes, text: bytes) -> bool:
        if self._public_key:
            return self._public_key.signs(signature, text)
        return hmac.compare_digest(signature, hmac.new(self._secret, text, self._rule.algorithm).digest())

    def _texts(self, posted: Posted, moment: str) -> Iterator[bytes]:
        """Return the texts that the source may have signed: one for each way to write the URL."""
        nonce = posted.headers.get(self._rule.nonce_header, "")
        for url in urls(posted.url) if "url" in self._signed else [posted.url]:
            parts = {"body": posted.body, "url": url.encode(), "time": moment.encode(), "nonce": nonce.encode()}
            parts["separator"] = b"." if posted.query else b"?"
            if "fields" in self._signed:
                parts["fields"] = _fields(posted)
            yield b"".join(parts[part] if at % 2 else part.encode() for at, part in enumerate(self._signed))

    def _is_token(self, given: str, posted: Posted) -> bool:
        """Check a JSON Web Token (RFC 7519) that is signed with HMAC-SHA256."""
        head, payload, signature = given.removeprefix("Bearer ").strip().split(".")
        if msgspec.json.decode(_base64url(head)).get("alg") != "HS256":
            return False
        expected = hmac.new(self._secret, f"{head}.{payload}".encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(_base64url(signature), expected):
            return False
        claims = msgspec.json.decode(_base64url(payload))
        if self._rule.age_seconds_max and not self._is_recent(float(claims.get("iat", 0))):
            return False
        body_hash = self._rule.body_hash
        return not body_hash or claims.get(body_hash) == hashlib.sha256(posted.body).hexdigest()

    def _is_recent(self, moment: float) -> bool:
        return abs(self._unix_seconds() - moment) <= self._rule.age_seconds_max


def urls(url: str) -> list[str]:
    """Return the ways to write a URL: with and without its port, with escaped and with plain characters in its path.

    Providers leave the port out of what they sign, or add it. All ways name the same resource of the same host.
    """
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    port = parts.port or _PORTS.get(parts.scheme, 0)
    rest = f"?{parts.query}" if parts.query else ""
    plain = unquote(parts.path)
    paths = dict.fromkeys((parts.path, plain, quote(plain)))
    return [f"{parts.scheme}://{at}{path}{rest}" for at in (parts.netloc, host, f"{host}:{port}") for path in paths]


def _fields(posted: Posted) -> bytes:
    """Name and value of each field in their order by name. A value that is repeated in a field counts once."""
    if _is_json(posted.body):
        return b""
    return "".join(name + value for name, value in sorted(set(pairs(posted.body)))).encode()


def _is_json(body: bytes) -> bool:
    return body.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"[", b"<")


def _has_body_hash(place: str, posted: Posted) -> bool:
    """Check the hash in the query. A form needs none: the signature covers its fields."""
    given = query_value(posted.query, place.removeprefix("?"))
    if given is None:
        return not _is_json(posted.body)
    return hmac.compare_digest(given.encode(), hashlib.sha256(posted.body).hexdigest().encode())


def _has_password(given: str, secret: bytes) -> bool:
    scheme, _, credentials = given.partition(" ")
    _, _, password = base64.b64decode(credentials, validate=True).partition(b":")
    return scheme.lower() == "basic" and hmac.compare_digest(password, secret)


def _decoded(text: str, encoding: str) -> bytes:
    return bytes.fromhex(text) if encoding == "hex" else base64.b64decode(text, validate=True)


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
