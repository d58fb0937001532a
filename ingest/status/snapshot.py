"""The service's state for people: the types of `GET /status.json`."""

import msgspec

from ingest.status.health import Status as HealthStatus


class Limits(msgspec.Struct, frozen=True):
    """Settings to which people compare the figures."""

    workers: int
    spool_bytes_max: int
    queue_events_max: int


class Workers(msgspec.Struct, frozen=True):
    alive: int
    wanted: int
    restarts: int
    """Workers that died and were replaced since the service started. A planned replacement does not count."""
    died_lately: int = 0
    """Workers that died and were replaced in the last ten minutes."""


class Rates(msgspec.Struct, frozen=True):
    """Events per second; `refused` counts requests and items of batches."""

    accepted: float
    published: float
    refused: float


class Latency(msgspec.Struct, frozen=True):
    """Percentiles in seconds."""

    p50: float
    p95: float
    p99: float


class Backlog(msgspec.Struct, frozen=True):
    """Events in the outbox, and the age of the oldest one. Null if unknown."""

    events: int | None
    age_seconds: float | None


class Spool(msgspec.Struct, frozen=True):
    """Events that wait on this machine's disk for the database, in the spools of all workers.

    `bytes_max` is 0 if there is no spool.
    """

    events: int
    bytes: int
    bytes_max: int
    age_seconds: float


class InHand(msgspec.Struct, frozen=True):
    """Events that wait for a commit, the limit of these, and events that the broker has not confirmed yet."""

    queued: int
    queued_max: int
    unconfirmed: int


class Point(msgspec.Struct, frozen=True):
    """A sample of the last minutes, compared with the one before it.

    `p99` is the latency of responses, null if there were none. `backlog` is null if it was unknown.
    """

    time: float
    accepted: float
    p99: float | None
    backlog: int | None


class Refusal(msgspec.Struct, frozen=True):
    """Number of refusals with one code within the last minutes, and when the last one was seen (Unix time)."""

    code: str
    count: int
    time: float


class RefusedClient(msgspec.Struct):
    """Refusals of one client address with one code, as `status.refused_clients` counts them.

    `resource` is the path without a token. `token` is the name of the client's token, empty if it had none. `fields`
    are the fields that broke a rule, with the rule.
    """

    time: float
    address: str
    resource: str
    code: str
    count: int
    token: str
    fields: dict[str, str]


class Error(msgspec.Struct, frozen=True):
    """A warning or an error from the log. `time` is Unix time; `worker` is the index of the worker that logged it.

    If several workers logged the same within a minute, `workers` has all of them, and `time` is of the last one.
    """

    time: float
    level: str
    logger: str
    text: str
    worker: int
    workers: list[int] = []


class Status(msgspec.Struct, frozen=True):
    """The state of all workers; any of them can answer the request.

    `totals` are counts since the start. A latency without a measurement in the window is missing.
    """

    status: HealthStatus
    checks: dict[str, str]
    version: str
    time: float
    window_seconds: float
    workers: Workers
    rates: Rates
    totals: Rates
    latency_seconds: dict[str, Latency]
    backlog: Backlog
    spool: Spool
    in_hand: InHand
    history: list[Point]
    refusals: list[Refusal]
    refused_clients: list[RefusedClient]
    errors: list[Error]
