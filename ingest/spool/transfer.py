"""Brings records of the spool to the database, and sets aside what is proven to be refused there."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from ingest.errors import BatchRefused, DuplicateKeys, IdsTaken, StoreError
from ingest.events.batch import Batch, pack, without
from ingest.pipeline.commit_target import RelayPort
from ingest.pipeline.isolation import Isolation
from ingest.spool.records import Record, Refused
from ingest.spool.store import SpoolStore
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

log = logging.getLogger("ingest.drainer")

COMMITS_MAX = 2_000
"""To find the events of a group of records that the database refuses."""


Anew = Callable[[Batch], Awaitable[Batch]]
"""The same events with other ids; see `ingest.pipeline.identity`. Raises `StoreError` if there are none."""


class Outcome(NamedTuple):
    taken: bool = False
    """The database took some of it."""
    refused: Sequence[Record] = ()
    """Records that stay in the spool, as nothing is proven of an event of theirs."""


class Transfer:
    """Of a worker's spool. What arrives in the database ends the `outage`."""

    def __init__(
        self, spool: SpoolStore, database: Store, relay: RelayPort, outage: Outage, metrics: Metrics, anew: Anew
    ) -> None:
        """`anew` gives events other ids: those that are provisional, or that other events have."""
        self._anew = anew
        self._spool = spool
        self._database = database
        self._relay = relay
        self._outage = outage
        self._metrics = metrics

    async def bring(self, group: Sequence[Record], *, proven: bool = False) -> Outcome:
        """`proven`: the database has taken another record since it refused these."""
        batches = {record.first_id: batch for record in group if (batch := record.unpacked())}
        for record in group:
            if record.first_id not in batches:
                await self._set_aside(Refused(record.first_id, record.count, "the record is damaged", record.batch))
        whole = [record for record in group if record.first_id in batches]
        if not whole:
            return Outcome()
        first = batches[whole[0].first_id]
        if whole[0].lease_until is not None and not first.provisional:
            return await self._commit(whole[0], first, proven)
        return await self._part(whole, [*batches.values()], proven, self._restore)

    async def _commit(self, record: Record, batch: Batch, proven: bool) -> Outcome:
        """An unpublished batch. If the database refuses it, it is published from here first: it was acknowledged."""
        new = batch
        try:
            while new:
                try:
                    await self._database.commit(new, lease_seconds=0.0, settled=[])
                    break
                except DuplicateKeys as exc:
                    new = self._without_repeats(new, exc)
        except IdsTaken as exc:
            _warn(batch, exc)
            return await self._part([record], [batch], proven, self._commit_anew)
        except BatchRefused as exc:
            self._tell(exc)
            self._relay.retry(batch.first_id, range(len(batch)))
            return Outcome()
        self._outage.recovered()  # before the spool is written, whose disk may be full
        await self._brought([record], ())
        return Outcome(taken=True)

    async def _part(
        self,
        records: Sequence[Record],
        batches: Sequence[Batch],
        proven: bool,
        commit: Callable[[Sequence[Batch]], Awaitable[None]],
    ) -> Outcome:
        """Commit what can be. A record stays as it is while it holds an event of which nothing is proven."""
        isolation = Isolation([batches], _halves, COMMITS_MAX, proven=proven)
        await isolation.run(commit)
        if isolation.committed:
            self._outage.recovered()  # before the spool is written, whose disk may be full
        unproven = {event_id for part in isolation.left for batch in part for event_id in batch.ids}
        pairs = [*zip(records, batches, strict=True)]
        refused = [record for record, batch in pairs if not unproven.isdisjoint(batch.ids)]
        if refused and isolation.reason:
            self._tell(isolation.reason)
        done = {event_id for record, batch in pairs if record not in refused for event_id in batch.ids}
        blamed = [(part, reason) for (part,), reason in isolation.blamed if part.first_id in done]
        await self._brought([record for record in records if record not in refused], blamed)
        return Outcome(isolation.committed, refused)

    async def _restore(self, batches: Sequence[Batch]) -> None:
        """Batches that are published, or have provisional ids."""
        await self._commit_anew([batch for batch in batches if batch.provisional])
        if published := [batch for batch in batches if not batch.provisional]:
            await self._restore_published(published)

    async def _restore_published(self, batches: Sequence[Batch]) -> None:
        try:
            await self._database.insert_published(batches)
        except DuplicateKeys as exc:
            if len(batches) > 1:
                for batch in batches:
                    await self._restore_published([batch])
            elif new := self._without_repeats(batches[0], exc):
                await self._restore_published([new])
        except IdsTaken as exc:
            if len(batches) == len(batches[0]) == 1:  # the message's id names two events: it is published again
                _warn(batches[0], exc)
                await self._commit_anew(batches)
            else:
                raise BatchRefused(str(exc)) from exc  # it is found out of which events other ones have the ids

    async def _commit_anew(self, batches: Sequence[Batch]) -> None:
        """Under ids of this worker's, to be published with these. What came to the database already is not doubled."""
        for batch in batches:
            left = batch.keyed_by_ids()
            while left:
                named = await self._anew(left)
                try:
                    await self._database.commit(named, lease_seconds=0.0, settled=[])
                    break
                except DuplicateKeys as exc:
                    left = self._without_repeats(left, exc)

    def _without_repeats(self, batch: Batch, repeats: DuplicateKeys) -> Batch:
        """What another worker or node had accepted while the database, which knows, was away."""
        self._metrics.durable_counters.count(None, repeated=len(repeats.same))
        return without(batch, repeats.same)

    async def _brought(self, records: Sequence[Record], blamed: Sequence[tuple[Batch, StoreError]]) -> None:
        """All of these records is in the database, but for the events to blame."""
        for part, reason in blamed:
            await self._set_aside(Refused(part.first_id, len(part), str(reason), pack(part)))
        await self._spool.remove(records)
        brought = sum(record.count for record in records) - len(blamed)
        self._metrics.durable_counters.count(None, stored=brought)
        self._metrics.drained.inc(brought)

    def _tell(self, reason: StoreError) -> None:
        self._metrics.refused_commits.labels(reason.code).inc()
        if self._outage.reason:
            self._outage.record(0, str(reason))
        else:
            log.warning(
                "the database refuses events of the spool", extra={"reason": str(reason), "kept": "in the spool"}
            )

    async def _set_aside(self, refused: Refused) -> None:
        log.error(
            "an acknowledged event could not be brought to the database",
            extra={
                "first_id": refused.first_id,
                "events": refused.count,
                "reason": refused.reason,
                "kept": "in the spool, set aside: see `ingest spool ls`",
            },
        )
        await self._spool.set_aside(refused)
        self._metrics.set_aside.inc(refused.count)


def _warn(batch: Batch, reason: IdsTaken) -> None:
    log.warning(
        "other events have the ids of acknowledged ones, which get new ids",
        extra={"first_id": batch.first_id, "events": len(batch), "reason": str(reason)},
    )


def _halves(batches: Sequence[Batch]) -> Sequence[Sequence[Batch]]:
    """The first is last, as it is taken from there; nothing of a single event."""
    if len(batches) > 1:
        return batches[len(batches) // 2 :], batches[: len(batches) // 2]
    (batch,) = batches
    middle = len(batch) // 2
    return ([batch.part(middle, len(batch))], [batch.part(0, middle)]) if middle else ()
