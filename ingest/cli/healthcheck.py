"""The command `ingest healthcheck`, for containers: it asks the service of the same settings."""

import json
import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import click

from ingest.cli.options import with_settings
from ingest.cli.shell.output import say
from ingest.errors import IngestError
from ingest.server.listeners.address import literal, reached_at
from ingest.settings import Settings

ANSWER_SECONDS = 4.0
ALERTS = ("ALERT", "CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
"""Parts of OpenSSL's reasons for a refusal that came from the service."""


class UnhealthyError(IngestError):
    """The service does not answer, or it is not ready."""

    code = "unhealthy"


@click.command()
@click.option("--ready", is_flag=True, help="Ask /readyz: does the service accept events? The default is /healthz.")
@with_settings
def healthcheck(settings: Settings, ready: bool) -> None:
    """Ask the service on this host whether it is alive. The exit code is 0 if it is, else 1.

    The settings say where: INGEST_ADMIN_PORT, or INGEST_PORT with TLS if INGEST_TLS_CERT is set.
    """
    connection = connection_to(settings)
    asked = f"{connection.host}:{connection.port}{'/readyz' if ready else '/healthz'}"
    try:
        said = answer(connection, ready)
    except (OSError, HTTPException, ValueError, LookupError) as exc:
        if ready or not refuses_the_certificate(exc):
            raise UnhealthyError(f"{asked}: {exc}") from exc
        said = "alive, but wants another client certificate"
    say(f"{asked}: {said}")


def answer(connection: HTTPConnection, ready: bool) -> str:
    """Return the service's own word. Raises `UnhealthyError`, `OSError` and `HTTPException`."""
    with closing(connection):
        connection.request("GET", "/readyz" if ready else "/healthz")
        response = connection.getresponse()
        said = str(json.loads(response.read())["status"])
        if response.status != 200:
            raise UnhealthyError(f"{connection.host}:{connection.port} is {said}.")
        return said


def connection_to(settings: Settings) -> HTTPConnection:
    """Return a connection to the admin address, or to the port for events. Raises `SettingsError`."""
    if settings.admin_port:
        host = reached_at(literal("INGEST_ADMIN_HOST", settings.admin_host))
        return HTTPConnection(host, settings.admin_port, timeout=ANSWER_SECONDS)
    host = reached_at(literal("INGEST_HOST", settings.host))
    if not settings.tls_cert:
        return HTTPConnection(host, settings.port, timeout=ANSWER_SECONDS)
    return HTTPSConnection(host, settings.port, timeout=ANSWER_SECONDS, context=tls_context(settings))


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The check asks its own host by address, and the certificate is for the service's name: so it is not verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if settings.tls_client_ca:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)  # it may be of one of the wanted authorities
    return context


def refuses_the_certificate(exc: Exception) -> bool:
    """True if the service itself refused the client's certificate, so it is alive."""
    return isinstance(exc, ssl.SSLError) and any(alert in (exc.reason or "") for alert in ALERTS)
