"""The parts of a MySQL or MariaDB URL."""

import ssl
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from ingest.errors import SettingsError, StoreUnavailable

SSL_MODES = ("DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


class Address(msgspec.Struct, frozen=True):
    """The parts of `mysql://user:pass@host:3306/db?ssl-mode=VERIFY_CA&ssl-ca=/path`."""

    host: str
    port: int
    user: str
    password: str
    database: str
    ssl_mode: str
    ssl_ca: str | None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises `SettingsError`. `ssl-mode` has MySQL's own values: see `ssl_context`."""
        try:
            parts = urlsplit(url)
            port = parts.port or 3306
        except ValueError:  # not chained: its text may hold a part of the password
            raise SettingsError(
                "INGEST_DATABASE_URL cannot be read: write / ? # @ : [ ] in user and password as %2F %3F and so on."
            ) from None
        database = unquote(parts.path.strip("/"))
        if not parts.hostname or not database:
            raise SettingsError("INGEST_DATABASE_URL needs a host and a database: mysql://user:pass@host:3306/db.")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, port, user, password, database, *_ssl_options(parts.query))

    def ssl_context(self) -> ssl.SSLContext | None:
        """REQUIRED encrypts only. VERIFY_CA also verifies the chain, and VERIFY_IDENTITY the host name too."""
        if self.ssl_mode == "DISABLED":
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca)
        except OSError as exc:
            raise StoreUnavailable(f"ssl-ca: {self.ssl_ca} has no certificate to verify with ({exc}).") from exc
        context.check_hostname = self.ssl_mode == "VERIFY_IDENTITY"
        if self.ssl_mode == "REQUIRED":
            context.verify_mode = ssl.CERT_NONE
        return context


def _ssl_options(query: str) -> tuple[str, str | None]:
    """`ssl_mode` and `ssl_ca` of a URL's query."""
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    unknown = set(options) - {"ssl-mode", "ssl-ca"}
    if unknown:
        raise SettingsError(f"INGEST_DATABASE_URL: unknown option {', '.join(sorted(unknown))}.")
    ca = options.get("ssl-ca")
    mode = options.get("ssl-mode", "VERIFY_CA" if ca else "DISABLED").upper()
    if mode not in SSL_MODES:
        raise SettingsError(f"INGEST_DATABASE_URL: ssl-mode is one of {', '.join(SSL_MODES)}, as in MySQL.")
    return mode, ca
