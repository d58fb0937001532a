"""The URLs at which people reach the service from its own machine."""

import ipaddress
from typing import NamedTuple

from ingest.settings import Settings


class Urls(NamedTuple):
    """No URL ends with a slash. `pages` is the admin address, if there is one."""

    events: str
    pages: str


def urls_of(settings: Settings, port: int = 0) -> Urls:
    """`port` is the one on which the service listens, if the settings leave it open."""
    scheme = "https" if settings.tls_cert else "http"
    events = f"{scheme}://{_name_of(settings.host)}:{port or settings.port}"
    if not settings.admin_port:
        return Urls(events, events)
    return Urls(events, f"http://{_name_of(settings.admin_host)}:{settings.admin_port}")


def events_url_of(settings: Settings) -> str:
    """Return where readers of the pages send events, empty if to the pages' own URL. `{host}` is the pages' host."""
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{{host}}:{settings.port}" if settings.admin_port else ""


def _name_of(host: str) -> str:
    """Return the host for a URL: a name for all addresses of the machine, and for its own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified or address.is_loopback:
        return "localhost"
    return f"[{host}]" if address.version == 6 else host
