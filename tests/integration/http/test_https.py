"""HTTPS, with and without client certificates."""

import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.certificates import HOST, Authority
from tests.many_commands import Run, run_commands
from tests.running import ANSWER_SECONDS, EVENT, TOKEN, ServiceProcess
from tests.services import wait_until

QUEUED = (200, b'{"status":"queued"}')
REFUSED = (ssl.SSLError, ConnectionError)
"""A TLS 1.3 client learns of the refusal of its certificate only when it reads."""


class SecureService(ServiceProcess):
    """A service that the test calls over TLS, with `context`."""

    def __init__(self, folder: Path, settings: dict[str, str], context: ssl.SSLContext) -> None:
        super().__init__(folder, settings)
        self.context = context

    def connect(self) -> HTTPConnection:
        return HTTPSConnection(HOST, self.port, timeout=ANSWER_SECONDS, context=self.context)

    def post_with(self, context: ssl.SSLContext) -> tuple[int, bytes]:
        default, self.context = self.context, context
        try:
            return self.post(EVENT)
        finally:
            self.context = default


def trusting(authority: Authority, client: Path | None = None) -> ssl.SSLContext:
    """The TLS context of a client, optionally with the certificate `<client>.pem` and the key `<client>.key`."""
    context = ssl.create_default_context(cafile=authority.path)
    if client:
        context.load_cert_chain(client.with_suffix(".pem"), client.with_suffix(".key"))
    return context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    """The authority that signed the certificates of the service and of `client`."""
    authority = Authority(folder / "ca.pem")
    for name in ("service", "client"):
        authority.sign_for(HOST, folder / f"{name}.pem", folder / f"{name}.key")
    return authority


@pytest.fixture(scope="module")
def foreign(folder: Path) -> Authority:
    """An authority that nobody trusts. It signed the certificate of `foreigner`."""
    authority = Authority(folder / "foreign-ca.pem")
    authority.sign_for(HOST, folder / "foreigner.pem", folder / "foreigner.key")
    return authority


def files(folder: Path) -> dict[str, str]:
    return {"TLS_CERT": str(folder / "service.pem"), "TLS_KEY": str(folder / "service.key")}


@pytest.fixture(scope="module")
def service(folder: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureService]:
    """A service that any client may connect to."""
    with SecureService(tmp_path_factory.mktemp("https"), files(folder), trusting(authority)) as running:
        yield running


@pytest.fixture(scope="module")
def strict(folder: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureService]:
    """A service that only clients with a certificate of `authority` may connect to."""
    settings = {**files(folder), "TLS_CLIENT_CA": str(authority.path)}
    context = trusting(authority, folder / "client")
    with SecureService(tmp_path_factory.mktemp("mtls"), settings, context) as running:
        yield running


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_events_are_accepted_over_tls(service: SecureService, authority: Authority, version: ssl.TLSVersion) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version

    assert service.post_with(context) == QUEUED


def test_weaker_tls_is_refused(service: SecureService, authority: Authority) -> None:
    context = trusting(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.raises(ssl.SSLError, match="ALERT"):
        service.post_with(context)


def test_plain_http_is_refused(service: SecureService) -> None:
    with closing(HTTPConnection(HOST, service.port, timeout=ANSWER_SECONDS)) as connection:
        connection.request("GET", "/healthz")
        with pytest.raises((HTTPException, ConnectionError)):
            connection.getresponse()


def test_service_presents_the_configured_certificate(service: SecureService, foreign: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        service.post_with(trusting(foreign))


def test_client_with_a_certificate_of_the_authority_is_accepted(strict: SecureService) -> None:
    assert strict.post(EVENT) == QUEUED


def test_client_without_a_certificate_is_refused(strict: SecureService, authority: Authority) -> None:
    with pytest.raises(REFUSED):
        strict.post_with(trusting(authority))


def test_client_with_a_certificate_of_another_authority_is_refused(
    strict: SecureService, authority: Authority, foreign: Authority, folder: Path
) -> None:
    with pytest.raises(REFUSED):
        strict.post_with(trusting(authority, folder / "foreigner"))


def test_commands_present_a_client_certificate(
    strict: SecureService, authority: Authority, folder: Path, tmp_path: Path
) -> None:
    both, locked = tmp_path / "both.pem", tmp_path / "locked.pem"
    certificate, key = (folder / "client.pem").read_bytes(), (folder / "client.key").read_bytes()
    both.write_bytes(certificate + key)
    locked.write_bytes(certificate + with_passphrase(key))
    top = ["top", "--once", "--url", f"https://{HOST}:{strict.port}"]
    trusts = {"SSL_CERT_FILE": str(authority.path)}

    with_it, without, unreadable = run_commands(
        tmp_path,
        [
            Run([*top, "--client-cert", str(both)], environ=trusts),
            Run(top, environ=trusts),
            Run([*top, "--client-cert", str(locked)], environ=trusts),
        ],
    )

    assert (with_it.code, without.code, unreadable.code) == (0, 1, 1), (with_it, without, unreadable)
    assert "--client-cert" in without.stderr
    assert "holds no certificate with its key" in unreadable.stderr


def with_passphrase(key: bytes) -> bytes:
    """Return the PEM of the same key, encrypted."""
    private = serialization.load_pem_private_key(key, None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_service_does_not_start_with_a_mismatched_key(
    tmp_path: Path, folder: Path, authority: Authority, foreign: Authority
) -> None:
    service = ServiceProcess(tmp_path, {**files(folder), "TLS_KEY": str(folder / "foreigner.key")})

    ran = service.command("serve", check=False)

    assert ran.returncode == 1
    assert ran.stderr.startswith("ingest: INGEST_TLS_CERT=")
    assert ran.stderr.count("\n") == 1
    doctor = service.command("doctor", check=False)
    assert "FAIL  tls: INGEST_TLS_CERT=" in doctor.stdout


RENEWED_SECONDS = 60.0


def serve_version(folder: Path, version: str, kind: str) -> None:
    """Point `tls.crt` and `tls.key` to the files of a version, by links like those of certbot or Kubernetes."""
    links = (
        {"tls.crt": f"{version}/tls.crt", "tls.key": f"{version}/tls.key"} if kind == "certbot" else {"..data": version}
    )
    for name, target in links.items():
        (folder / "..new").symlink_to(target)
        (folder / "..new").replace(folder / name)


def serial(certificate: bytes) -> int:
    return x509.load_pem_x509_certificate(certificate).serial_number


def served(service: SecureService) -> int:
    """The serial number of the certificate on a new connection."""
    with (
        socket.create_connection((HOST, service.port), timeout=ANSWER_SECONDS) as raw,
        service.context.wrap_socket(raw, server_hostname=HOST) as secure,
    ):
        return serial(ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"").encode())


def reload(service: SecureService) -> None:
    os.kill(service.pid, signal.SIGHUP)


def kill_worker(service: SecureService) -> None:
    os.kill(service.worker_pids()[0], signal.SIGKILL)


def leave_it_to_the_service(service: SecureService) -> None:
    pass


@pytest.mark.parametrize("kind", ["certbot", "kubernetes"])
def test_renewed_certificate_is_served_without_a_restart(tmp_path: Path, authority: Authority, kind: str) -> None:
    acts: list[Callable[[SecureService], None]] = [leave_it_to_the_service, reload, kill_worker]
    for number in range(len(acts) + 1):
        (tmp_path / f"v{number}").mkdir()
        authority.sign_for(HOST, tmp_path / f"v{number}" / "tls.crt", tmp_path / f"v{number}" / "tls.key")
    serve_version(tmp_path, "v0", kind)
    if kind == "kubernetes":
        for name in ("tls.crt", "tls.key"):
            (tmp_path / name).symlink_to(f"..data/{name}")
    settings = {"TLS_CERT": str(tmp_path / "tls.crt"), "TLS_KEY": str(tmp_path / "tls.key")}

    with SecureService(tmp_path, settings, trusting(authority)) as service:
        pid = service.pid
        for number, act in enumerate(acts, 1):
            expected = serial((tmp_path / f"v{number}" / "tls.crt").read_bytes())
            serve_version(tmp_path, f"v{number}", kind)
            act(service)
            assert wait_until(partial(is_served, service, expected), RENEWED_SECONDS), service.log()
        assert service.pid == pid


def is_served(service: SecureService, expected: int) -> bool:
    """False also while a killed worker is being replaced, when the service does not respond."""
    try:
        return served(service) == expected
    except OSError:
        return False


def test_commands_find_the_service_over_tls_by_its_settings(service: SecureService) -> None:
    top = service.command("top", "--once")
    check = service.command("check", "--token", TOKEN, "--rate", "10", "--duration", "1s")
    plain = service.command("top", "--once", "--url", f"http://127.0.0.1:{service.port}", check=False)

    assert "ready" in top.stdout
    assert check.stdout.endswith("MET\n")
    assert top.stderr == check.stderr == f"service: https://127.0.0.1:{service.port}\n"
    assert (plain.returncode, "Then use https://" in plain.stderr) == (1, True), plain.stderr
