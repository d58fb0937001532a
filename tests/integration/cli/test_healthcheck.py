"""`ingest healthcheck` asks the service of the same settings, wherever it listens."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import HOST, Authority
from tests.commands import Ingest, nowhere, one_line
from tests.running import ServiceProcess
from tests.services import free_port, wait_until

SECONDS = 60.0


def ipv6(folder: Path) -> dict[str, str]:
    return {"HOST": "::"}


def clients_with_certificates(folder: Path) -> dict[str, str]:
    Authority(folder / "ca.pem").sign_for(HOST, folder / "service.pem", folder / "service.key")
    Authority(folder / "clients-ca.pem")
    return {
        "HOST": "127.0.0.2",
        "TLS_CERT": str(folder / "service.pem"),
        "TLS_KEY": str(folder / "service.key"),
        "TLS_CLIENT_CA": str(folder / "clients-ca.pem"),
    }


def admin_port(folder: Path) -> dict[str, str]:
    return {**clients_with_certificates(folder), "ADMIN_HOST": "127.0.0.3", "ADMIN_PORT": str(free_port())}


@pytest.mark.parametrize("settings", [ipv6, clients_with_certificates, admin_port])
def test_service_is_alive_wherever_it_listens(tmp_path: Path, settings: Callable[[Path], dict[str, str]]) -> None:
    service = ServiceProcess(tmp_path, settings(tmp_path))
    service.command("migrate")
    before = service.command("healthcheck", check=False)
    assert (before.returncode, before.stdout) == (1, "")
    assert before.stderr.startswith("ingest: ")
    service.start()
    try:
        alive = wait_until(lambda: service.command("healthcheck", check=False).returncode == 0, SECONDS)
        assert alive, service.command("healthcheck", check=False).stderr
    finally:
        service.stop()


def test_service_that_is_not_ready_is_alive(tmp_path: Path) -> None:
    """The service accepts no event before its tables exist. Only embedded mode makes them itself."""
    service = ServiceProcess(tmp_path, {"SPOOL_BYTES_MAX": "0", "BROKER_URL": nowhere("amqp", "")})
    service.start()
    try:
        service.wait_for_status("starting", "not ready")
        assert service.command("healthcheck").stdout == f"127.0.0.1:{service.port}/healthz: alive\n"
        assert service.command("healthcheck", "--ready", check=False).returncode == 1
        service.command("migrate")
        assert wait_until(lambda: service.command("healthcheck", "--ready", check=False).returncode == 0, SECONDS)
    finally:
        service.stop()


def test_wrong_settings_are_named(ingest: Ingest) -> None:
    assert "INGEST_HOST=nowhere.invalid" in one_line(ingest("healthcheck", HOST="nowhere.invalid"))
