"""Checks the files of `INGEST_TLS_…` before the start and watches them, so a renewed certificate needs no restart.

Workers never read the files themselves. During a renewal, certificate and key do not match for a moment, and a worker
that started then would die. So the supervisor copies matching files into memory, and workers read the copy.
"""

import logging
import os
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from granian.constants import SSLProtocols

from ingest.errors import SettingsError
from ingest.settings import Settings

log = logging.getLogger("ingest.server")

WATCH_SECONDS = 1.0
COPIES_MAX = 8
"""Copies in memory. A worker that is starting reads the copy that it was given."""

TlsContext = tuple[bool, str, str, None, str, str | None, list[str], bool]
"""Granian's TLS options: on, certificate, key, password, TLS version, authority, revocation lists, verify."""


class Certificates:
    """The last files that match."""

    def __init__(self, settings: Settings) -> None:
        """Raises `SettingsError` if the files do not match now."""
        self._settings = settings
        self._contents: Mapping[str, bytes] = {}
        self._copies: deque[dict[str, int]] = deque()
        self.generation = 0
        """Number of times that matching files were copied."""
        self.refresh()

    def refresh(self) -> None:
        """Copy the files if they have changed. Raises `SettingsError` if they do not match; the last copy stays."""
        contents = {path: _content(variable, path) for variable, path in _files(self._settings)}
        if contents == self._contents:
            return
        copy = {path: _in_memory(content) for path, content in contents.items()}
        try:
            check_tls(self._settings, {path: _path_of(descriptor) for path, descriptor in copy.items()})
        except SettingsError:
            _close(copy)
            raise
        self._contents = contents
        self._copies.append(copy)
        self.generation += 1
        if len(self._copies) > COPIES_MAX:
            _close(self._copies.popleft())

    def context(self) -> TlsContext:
        """Return Granian's arguments for a worker that starts now.

        They allow TLS 1.2, because some telephony servers do not support 1.3. Granian's TLS library (rustls) has no
        weak ciphers of 1.2.
        """
        try:
            self.refresh()
        except SettingsError as exc:
            log.warning("a worker starts with the last certificate", extra={"reason": str(exc)})
        settings, copy = self._settings, self._copies[-1]
        authority = _path_of(copy[settings.tls_client_ca]) if settings.tls_client_ca else None
        certificate, key = _path_of(copy[settings.tls_cert]), _path_of(copy[settings.tls_key])
        return True, certificate, key, None, str(SSLProtocols.tls12), authority, [], authority is not None


class Renewals:
    """Asks for new workers when the files have changed and match."""

    def __init__(self, certificates: Certificates, replace_workers: Callable[[], object]) -> None:
        self._certificates = certificates
        self._replace_workers = replace_workers
        self._served = certificates.generation
        self._problem: str | None = None

    def check(self) -> None:
        """Replace the workers if the files hold another certificate than they serve. A problem is logged once."""
        try:
            self._certificates.refresh()
            self._problem = None
        except SettingsError as exc:
            if str(exc) != self._problem:
                log.error(
                    "the changed TLS files are not used",
                    extra={"reason": str(exc), "kept": "the service keeps the last certificate"},
                )
            self._problem = str(exc)
        generation = self._certificates.generation
        if generation != self._served:
            log.info("the TLS files have changed; workers are replaced one by one")
            self._replace_workers()
            self._served = generation


def check_tls(settings: Settings, copies: Mapping[str, str] | None = None) -> str:
    """Return the result for the user. Raises `SettingsError`, which names the faulty file and its variable.

    `copies`: path of a file → path of its copy, which is read instead of the file.
    """
    if not settings.tls_cert:
        return "off"
    for variable, path in _files(settings):
        _content(variable, path)
    at = copies or {}
    _check_pair(settings, at)
    if not settings.tls_client_ca:
        return f"{settings.tls_cert} and its key match"
    _check_authority(settings.tls_client_ca, at)
    return f"{settings.tls_cert} and its key match; clients need a certificate of {settings.tls_client_ca}"


def _files(settings: Settings) -> list[tuple[str, str]]:
    """Return variable and path of each file that is set."""
    paths = {"CERT": settings.tls_cert, "KEY": settings.tls_key, "CLIENT_CA": settings.tls_client_ca}
    return [(f"INGEST_TLS_{name}", path) for name, path in paths.items() if path]


def _content(variable: str, path: str) -> bytes:
    """Read the file, also through symbolic links."""
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise SettingsError(f"{variable}={path} cannot be read ({exc.strerror}).") from exc


def _check_pair(settings: Settings, at: Mapping[str, str]) -> None:
    def no_password() -> str:
        """Replace OpenSSL's function, which would ask at the terminal."""
        raise SettingsError("INGEST_TLS_KEY is encrypted: use a key without a password that only the service can read.")

    certificate, key = settings.tls_cert, settings.tls_key
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at.get(certificate, certificate), at.get(key, key), no_password)
    except ssl.SSLError as exc:
        raise SettingsError(
            f"INGEST_TLS_CERT={certificate} and INGEST_TLS_KEY={key} are not a certificate and its own key, in PEM."
        ) from exc


def _check_authority(path: str, at: Mapping[str, str]) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(at.get(path, path))
    except ssl.SSLError as exc:
        raise SettingsError(f"INGEST_TLS_CLIENT_CA={path} holds no certificate in PEM ({exc.reason}).") from exc


def _in_memory(content: bytes) -> int:
    """Write to a file without a name. Only processes of this user can open it."""
    descriptor = os.memfd_create("ingest-tls")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return descriptor


def _path_of(descriptor: int) -> str:
    """Return the path by which other processes of this user open it."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _close(copy: Mapping[str, int]) -> None:
    for descriptor in copy.values():
        os.close(descriptor)
