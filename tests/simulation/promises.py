"""The promises of the service, checked while a schedule runs and at its end."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ingest.events.batch import Batch
from ingest.events.ids import is_provisional
from tests.simulation.clients import FAILED, MARK, OTHER, TRY, Answer
from tests.simulation.ledger import Violation, check
from tests.simulation.machine.nodes import Node
from tests.simulation.ports.store import POISON, RIDDLE
from tests.simulation.subjects.retention import RetentionPromises
from tests.simulation.workers import Life

if TYPE_CHECKING:
    from tests.simulation.world import World

ANSWER_SECONDS_MAX = 8.0
"""The sum of all deadlines that an event may meet: queue, commit, isolation and spool."""
LAST_STEPS_SECONDS = 0.1
"""Within this time the handler of a request sends its answer."""
REFUSES = b"refuse"
"""In the answer to events that the database refuses for a reason of their own."""
COUNTERS = ("accepted", "stored", "repeated")


class Promises:
    def __init__(self, world: "World") -> None:
        self._world = world
        self.broken: str | None = None
        """Found in a task whose code must not see the error."""
        self._names: dict[int, bytes] = {}
        """Id → payload of every row and every message."""
        self._published: set[bytes] = set()
        self._retention = RetentionPromises(world) if world.servers.retention_days else None

    def answered(self, life: Life, answer: Answer) -> None:
        """Accepted events are durable now. Before the first fault, no event is refused because of another one."""
        world = self._world
        blamed = answer.status == FAILED and REFUSES in answer.body and not any(MARK in one for one in answer.payloads)
        if blamed and not world.faults and not world.system.faults:
            self.breaks(f"refused because of others' events: {answer.payloads[0].decode()}")
        rows = world.servers.rows
        for payload in answer.accepted:
            world.ledger.accepted.add(payload)
            world.ledger.accepted_on.add((life.process.node.name, payload))
            kept = payload in rows or world.system.segments.holds(life.process.node, payload)
            if not kept:  # the database may have lost it since its answer
                world.ledger.excused |= world.servers.new_excused()
            if not kept and payload not in world.ledger.excused:
                self.breaks(f"accepted, but neither a row nor in the spool: {payload.decode()}")

    def breaks(self, promise: str) -> None:
        """The world learns of it before its next step."""
        self._world.loop.look_at = self._world.loop.steps + 1
        self.broken = promise

    async def answered_before_the_end(self, life: Life) -> None:
        """A worker that has stopped as planned has answered all its requests, apart from their last steps."""
        await asyncio.sleep(LAST_STEPS_SECONDS)
        if life.process.alive and not life.was_stopped and life.unanswered:
            self.breaks(f"{life.process.name} has stopped, and {life.unanswered} requests have no answer")

    def look(self) -> None:
        """Check what must be true at every moment."""
        if self.broken:
            self._world.ledger.excused |= self._world.servers.new_excused()
            raise Violation(self.broken)
        self._look()

    def only_on_disk(self, node: Node) -> list[bytes]:
        """Accepted events in a node's spool that are no rows."""
        rows = self._world.servers.rows
        found = self._world.system.segments.payloads_on(node)
        return [payload for payload in self._world.ledger.kept(found) if payload not in rows]

    def may_be_set_aside(self, payload: bytes) -> bool:
        """The database refuses the event, or another event may have its idempotency key."""
        refused = not self._world.servers.takes_all and (POISON in payload or RIDDLE in payload)
        return refused or OTHER in payload

    def unproven(self, node: Node) -> int:
        """Events of a node's spool that the database refuses without saying why. They stay until it takes another."""
        rows, found = self._world.servers.rows, self._world.system.segments.payloads_on(node)
        return sum(RIDDLE in payload and payload not in rows for payload in found)

    def at_end(self) -> None:
        """All work is done."""
        self._look()
        world = self._world
        rows, ledger, names = world.servers.rows, world.ledger, self._names
        on_disk = world.system.segments.payloads_on()
        for payload, ids in rows.items():
            check(len(ids) == 1, "the rows {} are one event: {}", ids, payload)
            if names.get(ids[0]) != payload:
                self._name(ids[0], payload)
        kept = ledger.accepted - ledger.excused
        aside = {*world.system.segments.set_aside().values()}
        waits = any(map(self.unproven, world.nodes))  # with all events of its record
        for payload in sorted(kept - rows.keys()):
            check(payload in on_disk, "accepted, but no row: {}", payload)
            check(self.may_be_set_aside(payload), "set aside, although good: {}", payload)
            check(waits or payload in aside, "accepted, but neither a row nor set aside: {}", payload)
        # A broker that has lost its newest messages may have as many as before by now.
        self._published.update(payload for _, payload in world.servers.all_messages())
        done = self._published | {*world.servers.dead.values()} | on_disk
        promised = kept if world.servers.stream else rows.keys() | kept  # a stream may lack what was answered 500
        for payload in sorted(promised - done):
            raise Violation(f"never published: {payload.decode()}")
        check(ledger.slowest_seconds <= ANSWER_SECONDS_MAX, "an answer took {:.2f} s", ledger.slowest_seconds)
        for life in world.lives:
            check(not life.unanswered, "{} requests of {} never got an answer", life.unanswered, life.process.name)
        check(not world.loop.problems, "{}", "; ".join(world.loop.problems))
        if world.servers.stream and not world.servers.slots_lost:
            self._stream_has_each_event_once()
        self._metrics_equal_ledger()

    def _stream_has_each_event_once(self) -> None:
        """An event with a key may be there under two ids: two workers took it while no database knew its key."""
        places: dict[bytes, int] = {}
        ids: set[int] = set()
        for place, (event_id, payload) in enumerate(self._world.servers.all_messages()):
            again = event_id in ids or (payload in places and (self._world.servers.keeps_order or TRY in payload))
            check(not again, "twice in the stream: {} {}", event_id, payload)
            ids.add(event_id)
            places.setdefault(payload, place)
        if self._world.servers.keeps_order:
            for earlier, later in self._world.ledger.in_order:
                if earlier in places and later in places:
                    check(places[earlier] < places[later], "{} is in the stream before {}", later, earlier)

    def _look(self) -> None:
        world = self._world
        if defect := world.servers.defect:
            raise defect
        world.ledger.excused |= world.servers.new_excused()
        if self._retention:
            self._retention.look()
        if settled := world.servers.new_settled():
            self._look_at_settled(settled)
        if world.system.segments.lost:
            self._look_at_lost_files()
        for event_id, payload in world.servers.new_messages():
            self._name(event_id, payload)
            self._published.add(payload)
        for life in world.lives:
            if pipeline := life.pipeline:
                queued, limit = pipeline.batcher.queued_events, life.settings.queue_events_max
                check(queued <= limit, "{} events wait for a commit", queued)
                inflight, limit = pipeline.dispatcher.inflight_events, life.settings.publish_inflight_events_max
                check(inflight <= limit, "{} events are in flight", inflight)

    def _look_at_settled(self, settled: Sequence[Batch]) -> None:
        servers, dead = self._world.servers, self._world.servers.dead
        for batch in settled:
            for event_id, event in zip(batch.ids, batch.events, strict=True):
                published = servers.is_published(event_id, event.payload) or event_id in dead
                published = published or (servers.slots_lost and self._is_message(event.payload))
                published = published or servers.is_in_outbox(event_id)
                check(published, "settled, but never published: {} {}", event_id, event.payload)

    def _is_message(self, payload: bytes) -> bool:
        """Another event may have had the same id."""
        return any(payload == other for _, other in self._world.servers.all_messages())

    def _look_at_lost_files(self) -> None:
        segments, rows = self._world.system.segments, self._world.servers.rows
        for file in segments.lost:
            for payloads in file.payloads.values():
                for payload in self._world.ledger.kept(payloads):
                    kept = payload in rows or segments.holds(file.node, payload)
                    kept = kept or self._is_elsewhere(file.node, payload)
                    check(kept, "the spool deleted an accepted event that is no row: {}", payload)
        segments.lost.clear()

    def _is_elsewhere(self, node: Node, payload: bytes) -> bool:
        """Another node has accepted an event with a key, and keeps it. This one has answered 500."""
        world = self._world
        if (node.name, payload) in world.ledger.accepted_on:
            return False
        return any(world.system.segments.holds(other, payload) for other in world.nodes)

    def _name(self, event_id: int, payload: bytes) -> None:
        check(not is_provisional(event_id), "a row or a message has the provisional id {}: {}", event_id, payload)
        other = self._names.setdefault(event_id, payload)
        named = other == payload or self._world.servers.slots_lost
        check(named, "the id {} names {} and {}", event_id, other, payload)

    def _metrics_equal_ledger(self) -> None:
        world = self._world
        counts: Counter[str] = Counter()
        for metrics in world.metrics.all:
            counts.update({name: int(getattr(metrics, name)._value.get()) for name in COUNTERS})
            tasks: dict[tuple[str], Any] = metrics.background_failures._metrics  # type: ignore[assignment]
            failed = {task: count for (task,), series in tasks.items() if (count := series._value.get())}
            if world.system.faults:
                failed.pop("tokens", None)  # a disk that fails does not keep them
            failed.pop("keys", None)  # the database refused, for a reason that may last
            check(not failed, "background tasks failed: {}", failed)
        if world.copies or world.servers.slots_lost:
            return  # a copy of the folder counts on from the counts of the first, and ids may be of two workers
        posted = world.ledger.posted
        check(counts["accepted"] <= posted, "{} counted as accepted, {} posted", counts["accepted"], posted)
        if not world.kills:
            accepted = world.ledger.answers_200
            check(counts["accepted"] == accepted, "{} counted, {} accepted", counts["accepted"], accepted)
        # A spool that cannot write its marks moves records again after a restart.
        recounted = world.kills or world.system.faults or world.ledger.excused
        if not (recounted or any(map(self.unproven, world.nodes))):
            segments = world.system.segments
            lost = {payload for node in world.nodes for payload in self.only_on_disk(node)}
            aside = sum(payload in lost for payload in segments.set_aside().values())
            stored = counts["accepted"] - counts["repeated"] - aside
            # An event answered 500 may be there: the spool's thread was only late.
            good = stored <= counts["stored"] <= stored + world.ledger.answers_500
            check(good, "{} counted, but {} events are set aside", counts, aside)
