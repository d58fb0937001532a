"""The files of `INGEST_TLS_…`: checked before anything starts, and watched: a renewed certificate needs no restart.

Workers never read the files themselves. While somebody renews them, certificate and key do not fit for a moment, and a
worker that started then would die. So the supervisor copies files that fit into memory, and workers read the copy.
"""

import logging
import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from granian.constants import SSLProtocols

from ingest.errors import SettingsError
from ingest.settings import Settings

log = logging.getLogger("ingest.server")

WATCH_SECONDS = 1.0
COPIES_MAX = 8
"""Kept at a time: a worker that is just starting reads the copy that it was started with."""

TlsContext = tuple[bool, str, str, None, str, str | None, list[str], bool]
"""What Granian gives to a worker: on, certificate, key, password, TLS version, authority, revocation lists, verify."""


class Certificates:
    """The last files that fit together. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Raises `SettingsError` if the files do not fit now."""
        self._settings = settings
        self._lock = threading.Lock()
        self._contents: Mapping[str, bytes] = {}
        self._copies: deque[dict[str, int]] = deque()
        self.generation = 0
        """How often files that fit were copied."""
        self.refresh()

    def refresh(self) -> None:
        """Copy the files if they have changed. Raises `SettingsError` if they do not fit: the last copy stays."""
        with self._lock:
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
        """For a worker that starts now.

        From TLS 1.2 on: there are telephony servers that do not speak 1.3, and Granian's TLS (rustls) has none of
        1.2's weak ciphers.
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
    """Asks for new workers when the files have changed and fit."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._served = certificates.generation
        self._problem: str | None = None

    def look(self) -> bool:
        """Whether workers serve an older certificate than the files hold. A problem is logged once."""
        try:
            self._certificates.refresh()
            self._problem = None
        except SettingsError as exc:
            if str(exc) != self._problem:
                log.error(
                    "the changed TLS files are not used",
                    extra={"reason": str(exc), "kept": "the service goes on with the last certificate"},
                )
            self._problem = str(exc)
        renewed = self._certificates.generation != self._served
        self._served = self._certificates.generation
        if renewed:
            log.info("the TLS files have changed; workers are replaced one by one")
        return renewed

    def watch(self, replace_workers: Callable[[], object]) -> None:
        """Look each second, in a thread, as long as this process lives."""
        threading.Thread(target=self._look_for_ever, args=(replace_workers,), name="tls-files", daemon=True).start()

    def _look_for_ever(self, replace_workers: Callable[[], object]) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            try:
                if self.look():
                    replace_workers()
            except Exception:
                log.exception("the TLS files could not be looked at; it is tried again")


def check_tls(settings: Settings, copies: Mapping[str, str] | None = None) -> str:
    """What was found, for people. Raises `SettingsError`, which names the file at fault and its variable.

    `copies`: path of a file → path of its copy, which is read instead.
    """
    if not settings.tls_cert:
        return "off"
    for variable, path in _files(settings):
        _content(variable, path)
    at = copies or {}
    _check_pair(settings, at)
    if not settings.tls_client_ca:
        return f"{settings.tls_cert} and its key fit"
    _check_authority(settings.tls_client_ca, at)
    return f"{settings.tls_cert} and its key fit; clients need a certificate of {settings.tls_client_ca}"


def _files(settings: Settings) -> list[tuple[str, str]]:
    """Variable and path of each file that is set."""
    paths = {"CERT": settings.tls_cert, "KEY": settings.tls_key, "CLIENT_CA": settings.tls_client_ca}
    return [(f"INGEST_TLS_{name}", path) for name, path in paths.items() if path]


def _content(variable: str, path: str) -> bytes:
    """Of the file that the path names now, whatever links lead there."""
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise SettingsError(f"{variable}={path} cannot be read ({exc.strerror}).") from exc


def _check_pair(settings: Settings, at: Mapping[str, str]) -> None:
    def no_password() -> str:
        """Instead of OpenSSL's, which would ask at the terminal."""
        raise SettingsError(
            "INGEST_TLS_KEY is encrypted: give a key without a password, readable for the service alone."
        )

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
    """A file without a name, which nobody but this user's processes can open."""
    descriptor = os.memfd_create("ingest-tls")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return descriptor


def _path_of(descriptor: int) -> str:
    """As other processes of this user may open it."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _close(copy: Mapping[str, int]) -> None:
    for descriptor in copy.values():
        os.close(descriptor)
