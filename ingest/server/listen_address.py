"""Where the service listens: names to the literals that Granian wants, and whether a port is free."""

import ipaddress
import socket

from ingest.errors import SettingsError


def literal(variable: str, host: str) -> str:
    """The IP address of a host. Raises `SettingsError`."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.gethostbyname(host)
    except OSError as exc:
        raise SettingsError(f"{variable}={host}: no such address ({exc.strerror}).") from exc


def check_free(variables: str, address: str, port: int) -> None:
    """Granian itself ends with a trace when the port is taken. Raises `SettingsError`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError as exc:
            raise SettingsError(f"{variables}: cannot listen on {address}:{port} ({exc.strerror}).") from exc
