"""The service's settings: read once from the environment, grouped by who uses them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ingest.auth.tokens import digest_of, digests_of, problem_of
from ingest.errors import SettingsError
from ingest.failover import each_host
from ingest.telemetry.logs import Level

RUN = "run"
"""In the data folder."""
WELL_KNOWN_TOKEN = "super-secret-token"  # noqa: S105 - the embedded mode's documented default
PREFIX = "INGEST_"
SIGNING_CLIENTS = ("jambonz", "twilio")
STREAM_BODY_BYTES_MAX = 1_047_552
"""A message of a stream must fit one frame of 1 MiB (RabbitMQ's default), with up to 1 KiB around the body."""

STREAM_PARTITIONS_MAX = 64

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
SecondsOrNone = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Bytes = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is the environment variable `INGEST_` + its name in capitals."""

    database_url: str = "sqlite:///var/call-events.db"
    broker_url: str = "embedded:"
    publish_to: Literal["queue", "stream"] = "queue"
    queue: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "call-events"
    queue_type: Literal["quorum", "classic"] = "quorum"
    stream_url: str = ""
    stream_partitions: Annotated[int, msgspec.Meta(ge=1, le=STREAM_PARTITIONS_MAX)] = 1
    stream_age_seconds_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    stream_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    api_tokens: tuple[str, ...] = ()
    host: str = "0.0.0.0"  # noqa: S104 - a service is there to be reached
    port: Port = 8000
    workers: Count = 1
    data_dir: Path = Path("var")
    log_level: Level = "info"

    # Exposure
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    admin_host: str = "127.0.0.1"
    admin_port: Port = 0
    server_metrics_port: Port = 0
    tracing: Literal["off", "otlp"] = "off"

    # Clients
    client_secrets: tuple[str, ...] = ()
    public_url: str = ""

    # Requests
    body_bytes_max: Bytes = 1_000_000
    batch_body_bytes_max: Bytes = 16_777_216
    batch_items_max: Count = 10_000
    body_timeout_seconds: Seconds = 5.0
    connections_max: Count = 4096
    idempotency_key: Literal["header", "natural"] = "header"
    idempotency_seconds: Seconds = 86_400.0
    queue_events_max: Count = 20_000
    queue_bytes_max: Bytes = 67_108_864
    queue_seconds_max: Seconds = 0.4

    # Commits
    batch_events_max: Count = 500
    batch_bytes_max: Bytes = 2_097_152
    store_connections_max: Count = 2
    writer_patience_seconds: Seconds = 0.05
    commit_timeout_seconds: Seconds = 2.0
    connect_timeout_seconds: Seconds = 3.0

    # Spool
    spool_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 1_073_741_824
    spool_free_bytes_min: Bytes = 268_435_456
    spool_after_seconds: Seconds = 0.25
    spool_poll_seconds: Seconds = 1.0

    # Publishing
    channels_max: Annotated[int, msgspec.Meta(ge=2, le=64)] = 3
    confirm_timeout_seconds: Seconds = 10.0
    publish_inflight_events_max: Count = 20_000
    publish_inflight_bytes_max: Bytes = 67_108_864
    lease_seconds: Seconds = 30.0
    relay_poll_seconds: Seconds = 1.0
    relay_entries_max: Count = 256
    reconnect_seconds_max: Seconds = 5.0
    dead_letter_seconds: Seconds = 3600.0
    embedded_queue_events_max: Count = 1_000_000

    # Retention
    retention_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    retention_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    retention_check_seconds: Seconds = 600.0

    # Stopping
    watchdog_seconds: SecondsOrNone = 4.0
    drain_delay_seconds: SecondsOrNone = 3.0
    drain_timeout_seconds: Seconds = 20.0

    @property
    def embedded(self) -> bool:
        """Nothing but Python: SQLite and the embedded queue."""
        return self.database_url.startswith("sqlite:") and self.broker_url == "embedded:"

    @property
    def run_dir(self) -> Path:
        """State of the running workers: locks, metric files, heartbeats, remembered tokens."""
        return self.data_dir / RUN

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens that clients may send."""
        return self.api_tokens or ((WELL_KNOWN_TOKEN,) if self.embedded else ())


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in `environ`. Raises `SettingsError`, which names the variable and its fix."""
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    known = {PREFIX + name.upper(): name for name in fields}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(PREFIX + "TEST_"):
            continue
        if variable not in known:
            raise SettingsError(f"{variable} is not a setting. `ingest config` lists them all.")
        if text.strip() or known[variable] == "api_tokens":
            values[known[variable]] = _value(variable, text, fields[known[variable]].type)
    settings = msgspec.structs.replace(Settings(), **values)
    _check(settings)
    return settings


def _value(variable: str, text: str, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        return tuple(token for part in text.split(",") if (token := part.strip()))
    if kind is Path:
        return Path(text)
    try:
        return msgspec.convert(text.strip(), kind, strict=False)
    except msgspec.ValidationError as exc:
        raise SettingsError(f"{variable}={text!r}: {exc}.") from exc


def _check(settings: Settings) -> None:
    for name in ("database_url", "broker_url", "stream_url"):
        _check_server(PREFIX + name.upper(), getattr(settings, name))
    scheme = urlsplit(settings.database_url).scheme
    if scheme not in ("sqlite", "mysql"):
        raise SettingsError(
            "INGEST_DATABASE_URL must begin with sqlite:/// or mysql://, such as mysql://user:pass@host:3306/db."
        )
    if scheme == "sqlite" and (settings.retention_days or settings.retention_bytes_max):
        raise SettingsError(
            "INGEST_RETENTION_DAYS and INGEST_RETENTION_BYTES_MAX are for MySQL and MariaDB: "
            "delete rows of a SQLite file as you like."
        )
    if settings.broker_url != "embedded:" and urlsplit(settings.broker_url).scheme not in ("amqp", "amqps"):
        raise SettingsError("INGEST_BROKER_URL must be embedded: or begin with amqp:// or amqps://.")
    if settings.publish_to == "stream" and urlsplit(settings.stream_url).scheme not in (
        "rabbitmq-stream",
        "rabbitmq-stream+tls",
    ):
        raise SettingsError(
            "INGEST_PUBLISH_TO=stream needs INGEST_STREAM_URL, such as rabbitmq-stream://user:pass@host:5552/."
        )
    if settings.publish_to == "stream" and settings.body_bytes_max > STREAM_BODY_BYTES_MAX:
        raise SettingsError(
            f"INGEST_BODY_BYTES_MAX={settings.body_bytes_max}: a stream takes {STREAM_BODY_BYTES_MAX} at most."
        )
    for problem in filter(None, map(problem_of, settings.api_tokens)):
        raise SettingsError(f"INGEST_API_TOKENS: {problem}")
    for secret in settings.client_secrets:
        name, _, value = secret.partition("=")
        if name not in SIGNING_CLIENTS or not value:
            raise SettingsError(
                f"INGEST_CLIENT_SECRETS is name=secret, separated by commas; names are {', '.join(SIGNING_CLIENTS)}."
            )
    if not settings.embedded:
        _check_tokens(settings.api_tokens)
    _check_exposure(settings)


def _check_server(variable: str, url: str) -> None:
    """Special characters of a password, as they are, end the URL's host early; the rest would be shown as its path."""
    try:
        good = all(map(_is_good, each_host(url)))
    except ValueError:
        good = False
    if not good:
        raise SettingsError(
            f"{variable} is not of the form scheme://user:pass@host:port/name, with host:port,host:port for several; "
            "in user and pass write / ? # @ : % [ ] as %2F %3F %23 %40 %3A %25 %5B %5D."
        )


def _is_good(url: str) -> bool:
    """Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    if parts.port == 0:
        return False
    return not parts.netloc or (bool(parts.hostname) and "@" not in parts.path + parts.query + parts.fragment)


def _check_tokens(tokens: tuple[str, ...]) -> None:
    if not tokens:
        raise SettingsError("INGEST_API_TOKENS is empty: with a real database or broker, set tokens of your own.")
    if digest_of(WELL_KNOWN_TOKEN) in digests_of(tokens):
        raise SettingsError(
            "INGEST_API_TOKENS holds the well-known token, which works in embedded mode only: choose one of your own."
        )


def _check_exposure(settings: Settings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise SettingsError("INGEST_TLS_CERT and INGEST_TLS_KEY go together: set both, or none for plain HTTP.")
    if settings.tls_client_ca and not settings.tls_cert:
        raise SettingsError("INGEST_TLS_CLIENT_CA needs TLS: set INGEST_TLS_CERT and INGEST_TLS_KEY too.")
    if settings.admin_port and settings.admin_port == settings.port:
        raise SettingsError("INGEST_ADMIN_PORT must be another one than INGEST_PORT, or 0 for the same.")


def masked(settings: Settings) -> dict[str, str]:
    """Variable → effective value as text, with passwords and tokens replaced by `***`."""
    shown = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if name == "api_tokens":
            text = ",".join("***" for _ in settings.tokens)
        elif name == "client_secrets":
            text = ",".join(f"{secret.partition('=')[0]}=***" for secret in value)
        elif name.endswith("_url"):
            text = mask_url(value)
        else:
            text = str(value)
        shown[PREFIX + name.upper()] = text
    return shown


def mask_url(url: str) -> str:
    """The URL with its password, if any, replaced by `***`."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))
