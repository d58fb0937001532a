"""How long and how often: the short form is part of `make test`, the long one is `make faults`."""

import msgspec


class Form(msgspec.Struct, frozen=True):
    rounds: int
    """Of each kill."""
    deletions: int
    """Of the queue; each is accounted for by itself."""
    outage_seconds: float
    """How long RabbitMQ is stopped."""
    database_outage_seconds: float
    """How long the database is stopped."""
    database_outage_events_per_second: float
    freeze_seconds: float
    """How long a server is frozen; above 10 s RabbitMQ's confirms are given up."""
    freezes: int
    """Of a worker, and of the service."""
    restarts: int
    """Of the database, of one of two nodes, and of both in turn."""
    cuts: int
    """Of all connections on a wire, half a second apart."""
    slow_seconds: float
    """How long a wire is slow, or RabbitMQ's memory alarm lasts."""
    steps: int
    """Of the clock, back by an hour and by 2 s each."""
    lease_seconds: float
    """After a worker's death, or a batch whose confirm is unknown, its outbox entries wait this long."""


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
"""With the service's own default lease."""
