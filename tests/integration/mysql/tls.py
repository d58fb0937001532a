"""A MySQL or MariaDB server with a TLS certificate of the tests."""

import os

from tests.certificates import certify
from tests.services.mysql import MariaDB, MySQL, PrivateMySQL


class TLSMariaDB(MariaDB):
    def __init__(self) -> None:
        super().__init__()
        self.ca_path = certify(self.sandbox.folder("tls"))

    def _server_options(self) -> list[str]:
        return [*super()._server_options(), *tls_options(self.inside("tls"))]


class TLSMySQL(MySQL):
    def __init__(self) -> None:
        super().__init__()
        self.ca_path = certify(self.sandbox.folder("tls"))

    def _server_options(self) -> list[str]:
        return [*super()._server_options(), *tls_options(self.inside("tls"))]


def tls_options(folder: str) -> list[str]:
    return [f"--ssl-{name}={folder}/{name}.pem" for name in ("ca", "cert", "key")]


def tls_mysql() -> PrivateMySQL:
    """A server of the flavour that INGEST_TEST_SERVERS names, not yet started."""
    return TLSMySQL() if os.environ.get("INGEST_TEST_SERVERS") == "sid" else TLSMariaDB()
