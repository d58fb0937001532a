"""The publisher for a RabbitMQ stream, or for the partitions of a super stream, through rstream."""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence

from ingest.broker.base import Held, Priority, Refused, not_held
from ingest.broker.stream.address import HEARTBEAT_SECONDS, StreamAddress
from ingest.broker.stream.connection import StreamConnection
from ingest.broker.stream.search import Wanted, find_ids
from ingest.broker.stream.topology import StreamTopology
from ingest.broker.supervisor import SupervisedPublisher
from ingest.errors import NotConfirmed
from ingest.events.batch import Batch
from ingest.events.routing_key import Value
from ingest.failover import FailoverHosts
from ingest.tasks import all_of
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver

log = logging.getLogger("ingest.publisher")


class StreamPublisher(SupervisedPublisher[StreamConnection]):
    """See `ingest.broker.base.OrderedPublisher`.

    A batch with a producer is published under the producer's name, with the events' ids as publishing ids. The broker
    discards each id that is not higher than the newest one of that producer. So it discards duplicates, but also events
    out of sequence. A batch without a producer is in the stream as often as it is published.
    """

    def __init__(
        self,
        url: str,
        topology: StreamTopology,
        observer: ConnectionObserver = NO_OBSERVER,
        held: Held = not_held,
        *,
        confirm_timeout_seconds: float,
        connect_timeout_seconds: float,
        reconnect_seconds_max: float,
        look_seconds: float = HEARTBEAT_SECONDS,
        filter_value: Value | None = None,
    ) -> None:
        """The connection checks every `look_seconds` that the stream still exists. Consumers filter by the value."""
        hosts = FailoverHosts(StreamAddress.parse_each(url))

        def connect(to: StreamAddress) -> Awaitable[StreamConnection]:
            return StreamConnection.open(to, topology, connect_timeout_seconds, look_seconds, filter_value)

        super().__init__(lambda: hosts.connected(connect), reconnect_seconds_max, observer, held)
        self._topology = topology
        self._confirm_timeout_seconds = confirm_timeout_seconds

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        """Publish on the connection of both priorities. A batch delays the next one only while it is written."""
        await self._publish(self._supervisor.connection(), batch, producer_name_of(batch.producer))

    async def publish_once(self, batches: Sequence[Batch]) -> Sequence[Refused]:
        """See `ingest.broker.base.OrderedPublisher`."""
        connection = self._supervisor.connection()
        groups = [group for group in by_producer(batches) if group[0].producer]
        newest = await all_of(self._newest_before(connection, group) for group in groups)
        outcomes = await all_of(
            self._publish_refused(connection, batch, producer_name_of(batch.producer)) for batch in batches
        )
        suspects: list[Batch] = []
        for group, before in zip(groups, newest, strict=True):
            if before >= group[0].first_id or await self._newest(connection, group) > group[-1].last_id:
                suspects += group
        searched = {batch.first_id for batch in suspects}
        refused = [one for outcome in outcomes for one in outcome if one[0].first_id not in searched]
        return [*refused, *await self._find_and_republish(connection, suspects)]

    async def _newest_before(self, connection: StreamConnection, of_producer: Sequence[Batch]) -> int:
        """Return the producer's newest id before these batches are published, or 0 for a single batch.

        Afterwards, the newest id may be that of the last batch, although the broker has discarded the first one.
        """
        return await self._newest(connection, of_producer) if len(of_producer) > 1 else 0

    async def _newest(self, connection: StreamConnection, of_producer: Sequence[Batch]) -> int:
        return max((await connection.sequences(producer_name_of(of_producer[0].producer))).values())

    async def _find_and_republish(self, connection: StreamConnection, batches: Sequence[Batch]) -> Sequence[Refused]:
        """Find missing events of these batches, and republish each batch's under a name made of its first id.

        If another process finds the same events missing, it uses the same name. So they are in the stream once.
        """
        missing = await self._missing(connection, batches)
        if missing:
            log.warning(
                "events were out of sequence; they are republished behind newer ones",
                extra={"events": len(missing)},
            )
        refused: list[Refused] = []
        for batch in batches:
            if discarded := _positions(batch, missing):
                name = f"{producer_name_of(batch.producer)}-late-{batch.first_id}"
                for _, problem in await self._publish_refused(connection, batch.picked(discarded), name):
                    refused.append((batch, problem.among(discarded)))
        return refused

    async def _missing(self, connection: StreamConnection, batches: Sequence[Batch]) -> set[int]:
        """Return ids that the broker has confirmed but discarded, because it had newer ids of their producers.

        Each stream is read once for all producers.
        """
        wanted: defaultdict[str, list[Wanted]] = defaultdict(list)
        for of_producer in by_producer(batches):
            producer, own = of_producer[0].producer, self._by_stream(of_producer)
            for stream, newest in (await connection.sequences(producer_name_of(producer))).items():
                if newest and own[stream]:
                    wanted[stream].append(Wanted(producer, own[stream], newest))
        created_ms = min((batch.created_us for batch in batches), default=0) // 1000
        found = await all_of(
            find_ids(connection.address_of(stream), stream, there, created_ms) for stream, there in wanted.items()
        )
        return set().union(*(one.ids for there in wanted.values() for one in there)).difference(*found)

    def _by_stream(self, batches: Sequence[Batch]) -> Mapping[str, set[int]]:
        """Group the ids of their events by stream."""
        ids: defaultdict[str, set[int]] = defaultdict(set)
        for batch in batches:
            for event_id, event in zip(batch.ids, batch.events, strict=True):
                ids[self._topology.stream_of(event)].add(event_id)
        return ids

    async def _publish_refused(
        self, connection: StreamConnection, batch: Batch, producer_name: str
    ) -> Sequence[Refused]:
        """Publish the batch. Return it if the broker refused messages of it."""
        try:
            await self._publish(connection, batch, producer_name)
        except NotConfirmed as exc:
            return [(batch, exc)]
        return []

    async def _publish(self, connection: StreamConnection, batch: Batch, producer_name: str) -> None:
        async with connection.confirming(self._confirm_timeout_seconds):
            publication, large = await connection.write(batch, producer_name)
            await publication.done
        if refused := publication.refused.union(large):
            raise NotConfirmed(
                f"RabbitMQ's stream refused {len(refused)} of {len(batch)} messages: they are too large for a frame.",
                _positions(batch, refused),
                never=_positions(batch, set(large)),
            )


def by_producer(batches: Sequence[Batch]) -> Iterable[Sequence[Batch]]:
    """Group the batches by producer, in their order."""
    found: defaultdict[int, list[Batch]] = defaultdict(list)
    for batch in batches:
        found[batch.producer].append(batch)
    return found.values()


def producer_name_of(producer: int) -> str:
    """Return the producer's name at the broker. With an empty name the broker discards nothing."""
    return f"call-events-{producer}" if producer else ""


def _positions(batch: Batch, ids: set[int]) -> Sequence[int]:
    return [position for position, event_id in enumerate(batch.ids) if event_id in ids]
