"""The address to listen on: resolves it, because Granian needs an IP address, and checks that the port is free."""

import ipaddress
import socket

from ingest.errors import SettingsError

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a key, to look up


def reached_at(host: str) -> str:
    """Return the address by which this machine reaches a service that listens on `host`."""
    return _LOOPBACK.get(host, host)


def literal(variable: str, host: str) -> str:
    """Return the IP address of a host. Raises `SettingsError`."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.gethostbyname(host)
    except OSError as exc:
        raise SettingsError(f"{variable}={host}: no such address ({exc.strerror}).") from exc


def check_free(variables: str, address: str, port: int) -> None:
    """Raise `SettingsError` if the port is taken. Granian itself would end with a traceback."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError as exc:
            raise SettingsError(f"{variables}: cannot listen on {address}:{port} ({exc.strerror}).") from exc
