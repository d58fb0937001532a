"""Makes the adapters of the broker from the settings. Nothing is connected yet."""

import socket
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from ingest.broker.base import Held, Publisher, not_held
from ingest.broker.embedded import FILE_NAME, EmbeddedPublisher
from ingest.broker.shared_target import SharedTarget
from ingest.broker.target_record import target_of
from ingest.events.routing_key import VALUES, Destination, RoutingKey
from ingest.server.factories.store import as_mysql, exclusive_lock
from ingest.settings import Settings
from ingest.store.base import Store
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver

if TYPE_CHECKING:
    from ingest.broker.amqp.queue import QueueDeclaration
    from ingest.broker.stream.topology import StreamTopology


def make_publisher(settings: Settings, observer: ConnectionObserver = NO_OBSERVER, held: Held = not_held) -> Publisher:
    if settings.publish_to == "stream":
        from ingest.broker.stream.publisher import StreamPublisher  # only this mode needs rstream

        return StreamPublisher(
            settings.stream_url,
            make_topology(settings),
            observer,
            held,
            confirm_timeout_seconds=settings.confirm_timeout_seconds,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            reconnect_seconds_max=settings.reconnect_seconds_max,
            filter_value=VALUES[settings.stream_filter] if settings.stream_filter else None,
        )
    if settings.broker_url == "embedded:":
        return EmbeddedPublisher(
            settings.data_dir / FILE_NAME,
            held,
            events_max=settings.embedded_queue_events_max,
            timeout_seconds=settings.commit_timeout_seconds,
        )
    from ingest.broker.amqp.publisher import AmqpPublisher  # only RabbitMQ needs its driver

    return AmqpPublisher(
        settings.broker_url,
        make_declaration(settings),
        observer,
        held,
        channels_max=settings.channels_max,
        confirm_timeout_seconds=settings.confirm_timeout_seconds,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        reconnect_seconds_max=settings.reconnect_seconds_max,
    )


def make_declaration(settings: Settings) -> "QueueDeclaration":
    """Return the queue, with the exchange that routes to it if there is one."""
    from ingest.broker.amqp.queue import QueueDeclaration

    routed_to = Destination(settings.exchange, RoutingKey.parse(settings.routing_key)) if settings.exchange else None
    return QueueDeclaration(settings.queue, settings.queue_type, routed_to)


def make_topology(settings: Settings) -> "StreamTopology":
    from ingest.broker.stream.topology import StreamTopology

    return StreamTopology(
        settings.queue,
        settings.stream_partitions,
        settings.stream_age_seconds_max,
        settings.stream_bytes_max,
        None if settings.broker_url == "embedded:" else settings.broker_url,
        exclusive_lock(settings, "streams"),
    )


def make_shared_target(settings: Settings, store: Store) -> SharedTarget:
    """Return this worker's view of the target that all workers of the database share."""
    node = f"{socket.gethostname()}:{settings.port}"
    memory = settings.data_dir / "cluster-settings.json"
    return SharedTarget(as_mysql(store), str(uuid4()), node, target_of(settings), memory, time.monotonic)
