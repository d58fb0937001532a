"""Ids of events: no two generators give the same one, and no worker uses an id slot that it knows to be lost."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingest.clock import unix_us
from ingest.errors import StoreError
from ingest.events.ids import IdGenerator, is_provisional
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.id_lease import MARGIN_MS
from ingest.store.base import SlotLease, Store
from tests.simulation.machine.nodes import WorkerProcess

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARED_WORLDS = 12
"""In one world of this many, two workers have the same id slot."""
SHORT_WORLDS = 4
"""In one world of this many, leases of slots soon end, so a worker may not use a slot that it cannot renew."""
SHORT_SECONDS = (MARGIN_MS / 1000 + 1.0, MARGIN_MS / 1000 + 5.0)


class Ids:
    """All ids that the workers of a world have made, and the owners of the slots in the database."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._given: set[int] = set()
        self._owners: dict[int, WorkerProcess] = {}
        shares = world.chance.pick("workers share a slot", SHARED_WORLDS) == SHARED_WORLDS - 1
        self.shares_a_slot = shares and not world.servers.keeps_order
        """Two workers have the same one from the first round of faults on."""
        self.leases_are_short = world.chance.pick("leases of slots are short", SHORT_WORLDS) == SHORT_WORLDS - 1
        self._lease_seconds = math.inf
        if self.leases_are_short:
            self._lease_seconds = world.chance.seconds("lease of a slot", *SHORT_SECONDS)

    def owner_of(self, slot: int) -> WorkerProcess | None:
        """The worker that has this slot by the database."""
        return self._owners.get(slot)

    def watch(self, process: WorkerProcess, batcher: Batcher, store: Store) -> None:
        """Check each id that this worker makes, and each lease that it gets."""
        lost: set[int] = set()
        use = batcher.use_ids

        def use_ids(ids: IdGenerator | None) -> None:
            if ids:
                ids.take = self._checked(process, ids, lost)  # type: ignore[assignment, method-assign]
            use(ids)

        batcher.use_ids = use_ids  # type: ignore[method-assign]
        self._watch_leases(process, store, lost)

    def _checked(self, process: WorkerProcess, ids: IdGenerator, lost: set[int]) -> Callable[[int], list[int]]:
        def take(count: int) -> list[int]:
            taken = IdGenerator.take(ids, count)
            if is_provisional(taken[0]):
                return taken  # other nodes may make the same
            if ids.slot in lost:
                self._world.promises.breaks(f"{process.name} makes ids of slot {ids.slot}, which it has lost")
            servers = self._world.servers
            if not (servers.slots_lost or servers.went_back or self._given.isdisjoint(taken)):
                self._world.promises.breaks(f"{process.name} makes ids that were made before: {taken[0]}")
            self._given.update(taken)
            return taken

        return take

    def _watch_leases(self, process: WorkerProcess, store: Store, lost: set[int]) -> None:
        lease_slot, renew_slot, release_slot = store.lease_slot, store.renew_slot, store.release_slot

        async def leased(node: str, life: str, lease_seconds: float) -> SlotLease:
            lease = await lease_slot(node, life, min(lease_seconds, self._lease_seconds))
            self._owners[lease.slot] = process
            lost.discard(lease.slot)
            return lease

        async def renewed(lease: SlotLease, life: str, lease_seconds: float) -> SlotLease | None:
            earlier, is_release = self._owners.get(lease.slot), life == lease.life
            seconds = lease_seconds if is_release else min(lease_seconds, self._lease_seconds)
            try:
                found = await renew_slot(lease, life, seconds)
            except StoreError:
                if lease.until_ms < unix_us() // 1000 + MARGIN_MS:  # another node may have it soon
                    lost.add(lease.slot)
                raise
            if found is None:
                lost.add(lease.slot)
                return None
            # Another worker may have a slot before its owner gets the answer: the owner ends its lease, or it was lost.
            may_change = is_release or self._world.servers.slots_lost
            for owner in (earlier, None if may_change else self._owners.get(lease.slot)):
                if owner and owner is not process and owner.alive and not self._world.servers.went_back:
                    self._world.promises.breaks(f"{process.name} renews the slot {lease.slot} of {owner.name}")
            if not is_release and self._owners.get(lease.slot) is earlier:
                self._owners[lease.slot] = process
                lost.discard(lease.slot)
            return found

        async def released(lease: SlotLease, keep_seconds: float) -> None:
            try:
                await release_slot(lease, keep_seconds)
            finally:
                if self._owners.get(lease.slot) is process:
                    del self._owners[lease.slot]

        store.lease_slot, store.renew_slot, store.release_slot = leased, renewed, released  # type: ignore[method-assign]
