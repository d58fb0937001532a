"""Finds the service for commands that speak HTTP: by --url, or by the settings of `ingest serve`."""

import os
import ssl
from collections.abc import Mapping
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import click

from ingest.cli.shell.output import warn
from ingest.errors import SettingsError
from ingest.server.listeners.address import reached_at
from ingest.settings import Settings, read_settings

URL_HELP = "URL of the service; by default that of INGEST_HOST, INGEST_PORT and INGEST_TLS_CERT on this host."
PAGES_HELP = "URL of the service's pages; by default the admin address or the address of the settings, on this host."


client_certificate = click.option(
    "--client-cert",
    envvar="CALL_EVENTS_CLIENT_CERT",
    metavar="FILE",
    help="Certificate and key in PEM, for a service with INGEST_TLS_CLIENT_CA.",
)


class Target(NamedTuple):
    url: str
    tls: ssl.SSLContext | None = None
    """None uses the authorities of this host."""


def events_target(url: str | None, client_cert: str | None = None, environ: Mapping[str, str] = os.environ) -> Target:
    """Return where the service takes events. Raises `SettingsError`."""
    return _presenting(client_cert, Target(url) if url is not None else _told(_of_events(read_settings(environ))))


def pages_target(url: str | None, client_cert: str | None = None, environ: Mapping[str, str] = os.environ) -> Target:
    """Return where the service has its pages. Raises `SettingsError`."""
    if url is not None:
        return _presenting(client_cert, Target(url))
    settings = read_settings(environ)
    if settings.admin_port:
        return _told(Target(_url("http", settings.admin_host, settings.admin_port, "INGEST_ADMIN_PORT")))
    return _presenting(client_cert, _told(_of_events(settings)))


def parts_of(url: str) -> SplitResult:
    """Split the URL of a service. Raises `SettingsError` if it is none."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets, or a port that is no port number
        is_good = False
    if not is_good or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"--url {url!r} is not of the form http://host:port.")
    return parts


def explained(exc: Exception) -> str:
    """Return the reason of a failed request, with a hint if the port speaks another protocol."""
    text = str(exc) or type(exc).__name__
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"{text} (SSL_CERT_FILE names a file with the authority's certificate)"
    if isinstance(exc, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (exc.reason or ""):
        return f"{text} (the service wants a certificate of its clients: give --client-cert)"
    if isinstance(exc, ssl.SSLError):
        return f"{text} (does the port speak plain HTTP? Then use http://)"
    if isinstance(exc, HTTPException | ConnectionResetError):
        return f"{text} (does the port speak HTTPS? Then use https://)"
    return text


def _told(target: Target) -> Target:
    warn(f"service: {target.url}")
    return target


def _of_events(settings: Settings) -> Target:
    if not settings.tls_cert:
        return Target(_url("http", settings.host, settings.port, "INGEST_PORT"))
    return Target(_url("https", settings.host, settings.port, "INGEST_PORT"), _trusting(settings.tls_cert))


def _trusting(certificate: str) -> ssl.SSLContext:
    """Trust the service's own certificate. It names another host than this address, which the settings give."""
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError as exc:
        raise SettingsError(f"INGEST_TLS_CERT={certificate} cannot be read ({exc.strerror or exc}).") from exc
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _presenting(client_cert: str | None, target: Target) -> Target:
    """Let the target show a certificate. Raises `SettingsError` if the file is unfit, or the connection has no TLS."""
    if client_cert is None:
        return target
    if parts_of(target.url).scheme != "https":
        raise SettingsError(f"--client-cert needs a URL with https://, not {target.url}.")
    context = target.tls or ssl.create_default_context()
    try:
        context.load_cert_chain(client_cert, password=str)  # it asks nobody for a passphrase
    except ssl.SSLError as exc:
        reason = f"holds no certificate with its key in PEM ({exc.reason or exc})"
        raise SettingsError(f"--client-cert {client_cert} {reason}.") from exc
    except OSError as exc:
        raise SettingsError(f"--client-cert {client_cert} cannot be read ({exc.strerror or exc}).") from exc
    return target._replace(tls=context)


def _url(scheme: str, host: str, port: int, variable: str) -> str:
    if not port:
        raise SettingsError(f"{variable}=0 lets the system choose the port: give --url.")
    host = reached_at(host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
