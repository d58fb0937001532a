"""The definitions of all settings. `.ci/settings_doc.py` writes docs/settings.md from them.

The docstring below a field is its effect in that document, and the comment above fields is the title of their group.
"""

from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ingest.events.local_times import zone_named
from ingest.telemetry.logs import Level

RUN = "run"
"""A folder in the data folder."""
WELL_KNOWN_TOKEN = "super-secret-token"  # noqa: S105 - the embedded mode's documented default
PREFIX = "INGEST_"
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

    # Database and broker
    database_url: str = "sqlite:///var/call-events.db"
    """The database: `sqlite:///path.db`, or `mysql://user:pass@host:3306/db` for MySQL ≥ 8.0.1 and MariaDB ≥ 10.6.
    Options are `?ssl-mode=REQUIRED|VERIFY_CA|VERIFY_IDENTITY&ssl-ca=FILE`.
    Several hosts (`host:3306,other:3306`) may be listed; the first writable one is used
    ([clusters](scaling.md#clusters))."""
    broker_url: str = "embedded:"
    """The broker: `embedded:`, or `amqp://user:pass@host:5672/vhost`. Use `amqps://…?cafile=FILE` for verified TLS.
    Several hosts (`host:5672,other:5672`) may be listed; the first reachable one is used."""
    publish_to: Literal["queue", "stream"] = "queue"
    """Publish to a queue or to a stream ([streams](streams.md)).
    All nodes of a database need the same value ([why](operations.md#settings-that-all-nodes-share))."""
    queue: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "call-events"
    """Name of the queue or the stream."""
    queue_type: Literal["quorum", "classic"] = "quorum"
    """Type of the queue, if the service declares it."""
    exchange: Annotated[str, msgspec.Meta(max_length=255)] = ""
    """Topic exchange to publish to ([routing](rabbitmq.md#routing)). The service declares it, and binds `INGEST_QUEUE`
    to every key, so its consumers see no change. If empty, messages go to the queue directly."""
    routing_key: str = "{event_type}"
    """Routing key of each message, if `INGEST_EXCHANGE` is set: text with `{event_type}`, `{token}` and `{client}`."""
    stream_url: str = ""
    """The broker's stream port, if events go to a stream: `rabbitmq-stream://user:pass@host:5552/vhost`.
    Several hosts may be listed, as in `INGEST_BROKER_URL`."""
    stream_partitions: Annotated[int, msgspec.Meta(ge=1, le=STREAM_PARTITIONS_MAX)] = 1
    """Number of partitions, at most 64. More than one makes a super stream; all events of a call are in one partition.
    It cannot be changed later ([streams](streams.md))."""
    stream_age_seconds_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Age at which a stream drops messages, if the service declares it; `0` keeps them for ever."""
    stream_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Size at which a stream, or each partition, drops its oldest messages, if the service declares it.
    `0` sets no limit."""

    stream_filter: Literal["", "event_type", "token"] = ""
    """Value by which consumers of a stream can filter ([streams](streams.md#filter)).
    RabbitMQ before 3.13 ignores it."""

    # Service
    api_tokens: tuple[str, ...] = ()
    """Tokens that clients may send in `X-API-TOKEN`, separated by commas ([tokens](tokens.md)).
    Write each as `sha256:…` from `ingest tokens hash`; plain text works with a warning.
    In embedded mode the default token is `super-secret-token`."""
    host: str = "0.0.0.0"  # noqa: S104 - a service is there to be reached
    """Address to listen on."""
    port: Port = 8000
    """Port to listen on."""
    listener: Literal["direct", "granian"] = "direct"
    """The listener of plain HTTP. `direct` speaks HTTP/1.1. `granian` also speaks HTTP/2, and an event costs half as
    much CPU again. HTTPS is always Granian's."""
    workers: Count = 1
    """Number of worker processes."""
    data_dir: Path = Path("var")
    """Folder for locks, id slots, metrics, the spool and the embedded queue."""
    log_level: Level = "info"
    """Lowest level that is logged."""

    # TLS, admin address and tracing
    tls_cert: str = ""
    """File with the certificate (chain) in PEM. It turns on HTTPS, from TLS 1.2.
    A renewed file is served within seconds."""
    tls_key: str = ""
    """File with the certificate's key in PEM, without a password."""
    tls_client_ca: str = ""
    """File with authorities in PEM. Clients then need a certificate of one of them."""
    admin_host: str = "127.0.0.1"
    """Address for pages and metrics, if `INGEST_ADMIN_PORT` is set."""
    admin_port: Port = 0
    """Port for pages and metrics, in plain HTTP; `0` serves them on `INGEST_PORT`.
    With an admin port, `INGEST_PORT` serves only `/healthz` and `/readyz` beside events, the latter without reasons."""
    server_metrics_port: Port = 0
    """Port on loopback for Granian's own metrics, which `/metrics` then includes; `0` turns them off."""
    tracing: Literal["off", "otlp"] = "off"
    """`otlp` sends spans to an OpenTelemetry collector ([tracing](tracing.md)). It needs `call-events-ingest[otel]`."""

    # Telephony sources
    client_secrets: tuple[str, ...] = ()
    """Secrets such as `jambonz=SECRET,twilio=SECRET`. The service then checks the signatures of these sources."""
    client_forms: str = ""
    """Folder of TOML files, each the form of a further source ([forms](clients/forms.md))."""
    public_url: str = ""
    """URL by which sources reach the service, such as `https://events.example.com`. Twilio signs it."""
    timestamp_zone: str = ""
    """Zone of timestamps without an offset, such as `Asia/Baku` or `+04:00`. The service writes the offset into the
    event. If empty, such an event is refused."""

    # Requests
    body_bytes_max: Bytes = 1_000_000
    """Largest body of one event. A stream takes at most 1,047,552 bytes."""
    batch_body_bytes_max: Bytes = 16_777_216
    """Largest body of a batch."""
    batch_items_max: Count = 10_000
    """Most events in a batch request."""
    body_timeout_seconds: Seconds = 5.0
    """Time for a body to arrive."""
    connections_max: Count = 4096
    """Most client connections of a worker."""
    idempotency_key: Literal["header", "natural"] = "header"
    """The key of an event, by which the service finds duplicates ([idempotency](idempotency.md)).
    `header` reads the header `Idempotency-Key`. `natural` also uses `call_id`, `event_type` and `timestamp` of an
    event without that header."""
    idempotency_seconds: Seconds = 86_400.0
    """Time that the service remembers idempotency keys."""
    queue_events_max: Count = 20_000
    """Most events of a worker that wait for a commit. Further requests get 503."""
    queue_bytes_max: Bytes = 67_108_864
    """Most bytes of events of a worker that wait for a commit. Further requests get 503."""
    queue_seconds_max: Seconds = 0.4
    """Refuse new events (503) once the oldest queued event has waited this long and the queue exceeds one batch."""

    # Commits
    batch_events_max: Count = 500
    """Most events of a commit."""
    batch_bytes_max: Bytes = 2_097_152
    """Most bytes of a commit. Keep it below a quarter of the server's `max_allowed_packet`."""
    store_connections_max: Count = 2
    """Database connections of a worker for commits. It opens two more: one for counters, one for everything
    else. Readers of events use a third."""
    writer_patience_seconds: Seconds = 0.05
    """Time that events wait behind one commit before a second connection starts another."""
    commit_timeout_seconds: Seconds = 2.0
    """Deadline of every statement, and of a commit if there is no spool."""
    connect_timeout_seconds: Seconds = 3.0
    """Deadline for connecting to the database or the broker."""

    # Spool
    spool_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 1_073_741_824
    """Most bytes on this machine's disk that hold events while MySQL is down. The workers share it evenly.
    If the spool is full, the answer is 500. `0` turns the spool off."""
    spool_free_bytes_min: Bytes = 268_435_456
    """Free space that the spool leaves on its disk."""
    spool_after_seconds: Seconds = 0.25
    """Time after which a worker gives up a commit and uses the spool, so that clients get their answer in time."""
    spool_poll_seconds: Seconds = 1.0
    """Interval at which a worker checks an empty spool, or retries while MySQL is down."""

    # Publishing
    channels_max: Annotated[int, msgspec.Meta(ge=2, le=64)] = 3
    """AMQP channels, 2 to 64: one for new events, the others for the relay.
    The service uses fewer if RabbitMQ allows fewer."""
    confirm_timeout_seconds: Seconds = 10.0
    """Deadline for the broker's confirms."""
    publish_inflight_events_max: Count = 20_000
    """Most events that wait for a confirm. The relay publishes the rest."""
    publish_inflight_bytes_max: Bytes = 67_108_864
    """Most bytes of events that wait for a confirm. The relay publishes the rest."""
    lease_seconds: Seconds = 30.0
    """Time that a worker keeps a new outbox entry for itself. Then any relay may publish it."""
    relay_poll_seconds: Seconds = 1.0
    """Interval at which the relay looks for outbox entries."""
    relay_entries_max: Count = 256
    """Most outbox entries that the relay claims at a time."""
    reconnect_seconds_max: Seconds = 5.0
    """Longest pause between attempts to reach the broker."""
    dead_letter_seconds: Seconds = 3600.0
    """Time that the relay retries an event that RabbitMQ refuses or returns.
    Then the event becomes a dead letter (`ingest dead ls`)."""
    embedded_queue_events_max: Count = 1_000_000
    """Most messages in the embedded queue."""

    # Retention
    retention_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Days of `call_event_logs` to keep, including today. `0` drops none; `ingest retention` still can."""
    retention_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Size of `call_event_logs` above which the oldest days are dropped. `0` sets no limit."""
    retention_archive: str = ""
    """Folder for archives: a day is written there, read back and compared before it is dropped
    ([archives](retention.md#archives)). The folder must exist. If empty, days are dropped without an archive."""
    retention_check_seconds: Seconds = 600.0
    """Interval at which a worker creates and drops the partitions of days."""

    audit_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 365
    """Days that the audit trail keeps an entry ([audit](events.md#audit-trail)). A worker deletes older ones."""

    # Watchdog and stop
    watchdog_seconds: SecondsOrNone = 4.0
    """Time after which a worker whose event loop does not run is killed and replaced; `0` turns this off."""
    start_timeout_seconds: SecondsOrNone = 60.0
    """Time after which a worker that has not started is killed and replaced; `0` turns this off. A worker starts in a
    few seconds, also without its servers."""
    drain_delay_seconds: SecondsOrNone = 3.0
    """Time after SIGTERM in which the service still takes events. `/readyz` says draining, and each answer closes its
    connection. Make it longer than your load balancer needs to notice."""
    drain_timeout_seconds: Seconds = 20.0
    """Time to finish queued events and confirms before a worker stops."""

    @property
    def listens_directly(self) -> bool:
        """HTTPS is always Granian's."""
        return self.listener == "direct" and not self.tls_cert

    @property
    def zone(self) -> tzinfo | None:
        """The zone of timestamps without an offset. None if they are refused."""
        return zone_named(self.timestamp_zone)

    @property
    def embedded(self) -> bool:
        """True if no server is needed: SQLite and the embedded queue."""
        return self.database_url.startswith("sqlite:") and self.broker_url == "embedded:"

    @property
    def run_dir(self) -> Path:
        """State of the running workers: locks, metric files, heartbeats, remembered tokens."""
        return self.data_dir / RUN

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens that clients may send."""
        return self.api_tokens or ((WELL_KNOWN_TOKEN,) if self.embedded else ())
