"""The files of `INGEST_TLS_…`: looked at before anything starts, as Granian's workers would die of them one by one."""

import ssl
from pathlib import Path
from typing import Any

from granian.constants import SSLProtocols

from ingest.errors import SettingsError
from ingest.settings import Settings


def tls_options(settings: Settings) -> dict[str, Any]:
    """Granian's arguments; none without TLS.

    From TLS 1.2 on: there are telephony servers that do not speak 1.3, and Granian's TLS (rustls) has none of 1.2's
    weak ciphers.
    """
    if not settings.tls_cert:
        return {}
    return {
        "ssl_cert": Path(settings.tls_cert),
        "ssl_key": Path(settings.tls_key),
        "ssl_protocol_min": SSLProtocols.tls12,
        "ssl_ca": Path(settings.tls_client_ca) if settings.tls_client_ca else None,
        "ssl_client_verify": bool(settings.tls_client_ca),
    }


def check_tls(settings: Settings) -> str:
    """What was found, for people. Raises `SettingsError`, which names the file at fault and its variable."""
    if not settings.tls_cert:
        return "off"
    for variable, path in (
        ("CERT", settings.tls_cert),
        ("KEY", settings.tls_key),
        ("CLIENT_CA", settings.tls_client_ca),
    ):
        if path:
            _check_readable(f"INGEST_TLS_{variable}", path)
    _check_pair(settings.tls_cert, settings.tls_key)
    if not settings.tls_client_ca:
        return f"{settings.tls_cert} and its key fit"
    _check_authority(settings.tls_client_ca)
    return f"{settings.tls_cert} and its key fit; clients need a certificate of {settings.tls_client_ca}"


def _check_readable(variable: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as exc:
        raise SettingsError(f"{variable}={path} cannot be read ({exc.strerror}).") from exc


def _check_pair(certificate: str, key: str) -> None:
    def no_password() -> str:
        """Instead of OpenSSL's, which would ask at the terminal."""
        raise SettingsError(
            "INGEST_TLS_KEY is encrypted: give a key without a password, readable for the service alone."
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as exc:
        raise SettingsError(
            f"INGEST_TLS_CERT={certificate} and INGEST_TLS_KEY={key} are not a certificate and its own key, in PEM."
        ) from exc


def _check_authority(path: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as exc:
        raise SettingsError(f"INGEST_TLS_CLIENT_CA={path} holds no certificate in PEM ({exc.reason}).") from exc
