"""Checks which settings fit together. Each function raises `SettingsError`, which names the variable."""

from urllib.parse import urlsplit

from ingest.auth.tokens import digest_of, digests_of, problem_of
from ingest.errors import SettingsError
from ingest.events.local_times import zone_named
from ingest.events.routing_key import RoutingKey
from ingest.failover import each_host
from ingest.settings.model import PREFIX, STREAM_BODY_BYTES_MAX, WELL_KNOWN_TOKEN, Settings

NAME_BYTES_MAX = 255
"""The limit of a name in AMQP."""
STREAM_SCHEMES = ("rabbitmq-stream", "rabbitmq-stream+tls")


def check(settings: Settings) -> None:
    for name in ("database_url", "broker_url", "stream_url"):
        _check_server(PREFIX + name.upper(), getattr(settings, name))
    _check_database(settings)
    _check_broker(settings)
    _check_tokens(settings)
    _check_client_secrets(settings.client_secrets)
    _check_zone(settings)
    _check_exposure(settings)


def _check_server(variable: str, url: str) -> None:
    """An unescaped special character in a password ends the URL's host early. The rest would be shown as its path."""
    try:
        good = all(map(_is_good, each_host(url)))
    except ValueError:
        good = False
    if not good:
        raise SettingsError(
            f"{variable} is not of the form scheme://user:pass@host:port/name, or host:port,host:port for several. "
            "In user and pass write / ? # @ : % [ ] as %2F %3F %23 %40 %3A %25 %5B %5D."
        )


def _is_good(url: str) -> bool:
    """Raises ValueError for a port that is not a port number."""
    parts = urlsplit(url)
    if parts.port == 0:
        return False
    return not parts.netloc or (bool(parts.hostname) and "@" not in parts.path + parts.query + parts.fragment)


def _check_database(settings: Settings) -> None:
    scheme = urlsplit(settings.database_url).scheme
    if scheme not in ("sqlite", "mysql"):
        raise SettingsError(
            "INGEST_DATABASE_URL must begin with sqlite:/// or mysql://, such as mysql://user:pass@host:3306/db."
        )
    if scheme == "sqlite" and (settings.retention_days or settings.retention_bytes_max or settings.retention_archive):
        raise SettingsError(
            "INGEST_RETENTION_DAYS, INGEST_RETENTION_BYTES_MAX and INGEST_RETENTION_ARCHIVE need MySQL or MariaDB. "
            "Delete rows of a SQLite file directly."
        )


def _check_broker(settings: Settings) -> None:
    if settings.broker_url != "embedded:" and urlsplit(settings.broker_url).scheme not in ("amqp", "amqps"):
        raise SettingsError("INGEST_BROKER_URL must be embedded: or begin with amqp:// or amqps://.")
    _check_routing(settings)
    if settings.publish_to == "queue":
        return
    if urlsplit(settings.stream_url).scheme not in STREAM_SCHEMES:
        raise SettingsError(
            "INGEST_PUBLISH_TO=stream needs INGEST_STREAM_URL, such as rabbitmq-stream://user:pass@host:5552/."
        )
    if settings.body_bytes_max > STREAM_BODY_BYTES_MAX:
        raise SettingsError(
            f"INGEST_BODY_BYTES_MAX={settings.body_bytes_max}: a stream takes at most {STREAM_BODY_BYTES_MAX} bytes."
        )


def _check_routing(settings: Settings) -> None:
    try:
        RoutingKey.parse(settings.routing_key)
    except ValueError as exc:
        raise SettingsError(f"INGEST_ROUTING_KEY={settings.routing_key!r}: {exc}.") from exc
    if not settings.exchange and settings.routing_key != Settings().routing_key:
        raise SettingsError("INGEST_ROUTING_KEY needs INGEST_EXCHANGE: a queue alone has no keys.")
    if settings.stream_filter and settings.publish_to != "stream":
        raise SettingsError("INGEST_STREAM_FILTER needs INGEST_PUBLISH_TO=stream. For a queue, set INGEST_EXCHANGE.")
    if not settings.exchange:
        return
    if len(settings.exchange.encode()) > NAME_BYTES_MAX:
        raise SettingsError(f"INGEST_EXCHANGE has more than {NAME_BYTES_MAX} bytes.")
    if settings.publish_to == "stream":
        raise SettingsError("INGEST_EXCHANGE is for a queue. For a stream, set INGEST_STREAM_FILTER.")
    if settings.broker_url == "embedded:":
        raise SettingsError("INGEST_EXCHANGE needs RabbitMQ: set INGEST_BROKER_URL.")


def _check_tokens(settings: Settings) -> None:
    for problem in filter(None, map(problem_of, settings.api_tokens)):
        raise SettingsError(f"INGEST_API_TOKENS: {problem}")
    if settings.embedded:
        return
    if not settings.api_tokens:
        raise SettingsError("INGEST_API_TOKENS is empty: with a real database or broker, set your own tokens.")
    if digest_of(WELL_KNOWN_TOKEN) in digests_of(settings.api_tokens):
        raise SettingsError(
            "INGEST_API_TOKENS holds the well-known token, which is for embedded mode only: set your own tokens."
        )


def _check_client_secrets(secrets: tuple[str, ...]) -> None:
    for secret in secrets:
        name, _, value = secret.partition("=")
        if not name or not value:
            raise SettingsError("INGEST_CLIENT_SECRETS is name=secret, separated by commas, such as jambonz=SECRET.")


def _check_zone(settings: Settings) -> None:
    try:
        zone_named(settings.timestamp_zone)
    except ValueError as exc:
        raise SettingsError(f"INGEST_TIMESTAMP_ZONE: {exc}. Examples are Asia/Baku and +04:00.") from exc


def _check_exposure(settings: Settings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise SettingsError("INGEST_TLS_CERT and INGEST_TLS_KEY go together: set both, or neither for plain HTTP.")
    if settings.tls_client_ca and not settings.tls_cert:
        raise SettingsError("INGEST_TLS_CLIENT_CA needs TLS: set INGEST_TLS_CERT and INGEST_TLS_KEY too.")
    if settings.admin_port and settings.admin_port == settings.port:
        raise SettingsError("INGEST_ADMIN_PORT must differ from INGEST_PORT; 0 serves the pages on INGEST_PORT.")
