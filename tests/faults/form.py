"""Lengths and counts of the faults. `make test` runs the short form, `make faults` the long one."""

import msgspec


class Form(msgspec.Struct, frozen=True):
    rounds: int
    """Rounds of each kill."""
    deletions: int
    """Deletions of the queue; each one has its own account."""
    outage_seconds: float
    """RabbitMQ is stopped for this time."""
    database_outage_seconds: float
    """The database is stopped for this time."""
    database_outage_events_per_second: float
    freeze_seconds: float
    """A server is frozen for this time. After 10 s the service stops waiting for RabbitMQ's confirms."""
    freezes: int
    """Freezes of a worker, and of the service."""
    restarts: int
    """Restarts of the database, of one of two nodes, and of both nodes in turn."""
    cuts: int
    """Cuts of all connections on a wire, half a second apart."""
    slow_seconds: float
    """A wire is slow, or RabbitMQ has a memory alarm, for this time."""
    steps: int
    """Steps of the clock: each goes back by an hour, and then by 2 s."""
    lease_seconds: float
    """Outbox entries wait for this time after a worker's death, or after a batch without a known confirm."""


SHORT = Form(
    rounds=1,
    deletions=1,
    outage_seconds=6,
    database_outage_seconds=3,
    database_outage_events_per_second=300,
    freeze_seconds=2.5,
    freezes=1,
    restarts=1,
    cuts=4,
    slow_seconds=2,
    steps=1,
    lease_seconds=3,
)
LONG = Form(
    rounds=10,
    deletions=3,
    outage_seconds=60,
    database_outage_seconds=300,
    database_outage_events_per_second=2000,
    freeze_seconds=13,
    freezes=3,
    restarts=10,
    cuts=60,
    slow_seconds=30,
    steps=3,
    lease_seconds=30,
)
"""The long form has the service's default lease."""
