"""A MySQL or MariaDB server with a TLS certificate made here, which names the host `localhost` and no other."""

import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.services.mysql import MariaDB, MySQL, PrivateMySQL

DAY = datetime.timedelta(days=1)
HOST = "localhost"


class Authority:
    """Signs certificates; its own is in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("authority of the tests")
        path.write_bytes(self._signed(self._name, self._key, ca=True).public_bytes(Encoding.PEM))

    def sign_for(self, host: str, certificate: Path, key: Path) -> None:
        """Write a new key, and a certificate of it for `host`."""
        made = ec.generate_private_key(ec.SECP256R1())
        certificate.write_bytes(self._signed(_named(host), made, ca=False).public_bytes(Encoding.PEM))
        key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - DAY,
            not_valid_after=now + DAY,
        ).add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


class TLSMariaDB(MariaDB):
    def __init__(self) -> None:
        super().__init__()
        self.ca_path = certify(self.sandbox.folder("tls"))

    def _server_options(self) -> list[str]:
        return [*super()._server_options(), *tls_options(self._inside("tls"))]


class TLSMySQL(MySQL):
    def __init__(self) -> None:
        super().__init__()
        self.ca_path = certify(self.sandbox.folder("tls"))

    def _server_options(self) -> list[str]:
        return [*super()._server_options(), *tls_options(self._inside("tls"))]


def certify(folder: Path) -> Path:
    """Make the files that `tls_options` names; the authority's is returned."""
    authority = Authority(folder / "ca.pem")
    authority.sign_for(HOST, folder / "cert.pem", folder / "key.pem")
    return authority.path


def tls_options(folder: str) -> list[str]:
    return [f"--ssl-{name}={folder}/{name}.pem" for name in ("ca", "cert", "key")]


def tls_mysql() -> PrivateMySQL:
    """Of the flavour that INGEST_TEST_SERVERS names, not yet started."""
    return TLSMySQL() if os.environ.get("INGEST_TEST_SERVERS") == "sid" else TLSMariaDB()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
