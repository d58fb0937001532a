"""Certificates for the tests. All name the host `localhost`, and no other."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DAY = datetime.timedelta(days=1)
HOST = "localhost"


class Authority:
    """Signs certificates. Its own certificate is in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("authority of the tests")
        path.write_bytes(self._signed(self._name, self._key, ca=True).public_bytes(Encoding.PEM))

    def sign_for(self, host: str, certificate: Path, key: Path) -> None:
        """Write a new key, and its certificate for `host`."""
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
        )
        for extension, critical in self._extensions(key, ca=ca):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())

    def _extensions(self, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> list[tuple[x509.ExtensionType, bool]]:
        """Python 3.13 and later require key identifiers, and the key usage of an authority."""
        own, signer = key.public_key(), self._key.public_key()
        common: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=ca, path_length=None), True),
            (x509.SubjectKeyIdentifier.from_public_key(own), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), False),
        ]
        if ca:
            return [*common, (_SIGNS_CERTIFICATES, True)]
        return [*common, (x509.SubjectAlternativeName([x509.DNSName(HOST)]), False)]


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def certify(folder: Path) -> Path:
    """Write `ca.pem`, and `cert.pem` and `key.pem` for `HOST`, to the folder. Return the authority's file."""
    authority = Authority(folder / "ca.pem")
    authority.sign_for(HOST, folder / "cert.pem", folder / "key.pem")
    return authority.path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
