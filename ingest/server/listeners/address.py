"""Resolves the address to listen on, because Granian needs an IP address, and checks that the port is free."""

import ipaddress
import socket

from ingest.errors import SettingsError


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
