"""The promises of the service, checked while a schedule runs and at its end."""

from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.ledger import Violation, check
from tests.simulation.nodes import Node
from tests.simulation.ports.store import POISON, RIDDLE
from tests.simulation.workers import Life

if TYPE_CHECKING:
    from tests.simulation.world import World

ANSWER_SECONDS_MAX = 8.0
"""The sum of all deadlines that an event may meet: queue, commit, isolation and spool."""
STEPS_BETWEEN_LOOKS = 32


class Promises:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._until_look = 0
        self._seen_messages = 0
        self.broken: str | None = None
        """Found within a worker, whose code must not see the error."""
        self._names: dict[int, bytes] = {}
        """Id → payload of every row and every message."""

    def accepted(self, life: Life, payloads: list[bytes]) -> None:
        """An answer accepts these events: they are durable now."""
        world = self._world
        for payload in payloads:
            world.ledger.accepts(payload)
            if payload not in world.servers.database.payloads and not world.system.segments.holds(
                life.process.node, payload
            ):
                self.broken = f"accepted, but neither a row nor in the spool: {payload.decode()}"

    def after_step(self) -> None:
        if self.broken:
            raise Violation(self.broken)
        self._until_look -= 1
        if self._until_look > 0:
            return
        self._until_look = STEPS_BETWEEN_LOOKS
        world = self._world
        if world.servers.database.settled:
            self._look_at_settled()
        if world.system.segments.lost:
            self._look_at_lost_files()
        if len(world.servers.broker.messages) > self._seen_messages:
            self._look_at_messages()
        for life in world.lives:
            if pipeline := life.pipeline:
                check(
                    pipeline.batcher.queued_events <= life.settings.queue_events_max, "the batcher's queue is too long"
                )
                inflight, limit = pipeline.dispatcher.inflight_events, life.settings.publish_inflight_events_max
                check(inflight <= limit, f"{inflight} events are in flight")

    def _look_at_settled(self) -> None:
        settled = self._world.servers.database.settled
        confirmed, dead = self._world.servers.broker.confirmed, self._world.servers.database.dead
        for batch in settled:
            for event_id, event in zip(batch.ids, batch.events, strict=True):
                published = confirmed.get(event_id) == event.payload or event_id in dead
                check(published, f"settled, but never published: {event_id} {event.payload.decode()}")
        settled.clear()

    def _look_at_lost_files(self) -> None:
        segments, rows = self._world.system.segments, self._world.servers.database.payloads
        for file in segments.lost:
            for payloads in file.payloads.values():
                for payload in self._world.ledger.kept(payloads):
                    kept = payload in rows or segments.holds(file.node, payload)
                    check(kept, f"the spool deleted an accepted event that is no row: {payload.decode()}")
        segments.lost.clear()

    def _look_at_messages(self) -> None:
        messages = self._world.servers.broker.messages
        for event_id, payload in messages[self._seen_messages :]:
            self._name(event_id, payload)
        self._seen_messages = len(messages)

    def _name(self, event_id: int, payload: bytes) -> None:
        other = self._names.setdefault(event_id, payload)
        check(other == payload, f"the id {event_id} names {other.decode()} and {payload.decode()}")

    def unproven(self, node: Node) -> int:
        """Events of a node's spool that the database refuses without saying why. They stay until it takes another."""
        return sum(RIDDLE in payload for payload in self.only_on_disk(node))

    def only_on_disk(self, node: Node) -> list[bytes]:
        """Accepted events in a node's spool that are no rows."""
        rows = self._world.servers.database.payloads
        found = self._world.system.segments.payloads_on(node)
        return [payload for payload in self._world.ledger.kept(found) if payload not in rows]

    def at_end(self) -> None:
        """All work is done."""
        self._until_look = 0
        self.after_step()
        world = self._world
        database, ledger = world.servers.database, world.ledger
        for payload, ids in database.payloads.items():
            check(len(ids) == 1, f"{len(ids)} rows {ids} of one event: {payload.decode()}")
            self._name(ids[0], payload)
        set_aside = world.system.segments.payloads_on()
        for payload in ledger.kept(ledger.accepted):
            refusable = POISON in payload or RIDDLE in payload or payload in database.payloads
            check(refusable or payload not in set_aside, f"set aside, although good: {payload.decode()}")
        published = {payload for _, payload in world.servers.broker.messages}
        dead = {event.payload for letter in database.dead.values() if letter.batch for event in letter.batch.events}
        for payload in ledger.kept(ledger.accepted):
            check(payload in database.payloads or payload in set_aside, f"accepted, but no row: {payload.decode()}")
        done = published | dead | set_aside
        for payload in (*database.payloads, *ledger.kept(ledger.accepted)):
            check(payload in done, f"never published: {payload.decode()}")
        check(ledger.slowest_seconds <= ANSWER_SECONDS_MAX, f"an answer took {ledger.slowest_seconds:.2f} s")
        check(not world.loop.problems, "; ".join(world.loop.problems))
        self._metrics_equal_ledger()

    def _metrics_equal_ledger(self) -> None:
        world = self._world
        counts: Counter[str] = Counter()
        for metrics in world.metrics.all.values():
            for name in ("accepted", "stored", "repeated"):
                counts[name] += int(getattr(metrics, name)._value.get())
            failed = {
                sample.labels["task"]: sample.value
                for family in metrics.background_failures.collect()
                for sample in family.samples
                if sample.name.endswith("_total") and sample.value
            }
            check(not failed, f"background tasks failed: {failed}")
        if not world.kills and not world.copies:
            accepted = world.ledger.answers_200
            check(counts["accepted"] == accepted, f"{counts['accepted']} counted, {accepted} accepted")
