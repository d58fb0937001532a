"""Moves records of the spool to the database, and sets aside the events that it provably refuses."""

import logging
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import NamedTuple, Protocol

from ingest.errors import BatchRefused, DuplicateKeys, IdsTaken, StoreError
from ingest.events.batch import Batch, without
from ingest.events.batch_codec import is_newer, pack, why_unreadable
from ingest.pipeline.isolation import Isolation
from ingest.spool.records import Record, Refused
from ingest.spool.store import SpoolStore
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage

log = logging.getLogger("ingest.drainer")

COMMITS_MAX = 2_000
"""Commits that are tried to find the refused events of a group of records."""

KEY_REUSED = "Another event has its idempotency key. Its client must give each event a key of its own."

RenewIds = Callable[[Batch], Awaitable[Batch]]
"""Returns the same events with new ids; see `ingest.pipeline.identity`. Raises `StoreError` if there are none."""


class SpoolRelay(Protocol):
    """See `ingest.outbox.relay.Relay`."""

    def retry(self, batch: Batch, positions: Sequence[int]) -> None: ...


class Outcome(NamedTuple):
    taken: bool = False
    """The database took some of the events."""
    refused: Sequence[Record] = ()
    """Records that stay in the spool: it is not proven which of their events are to blame."""


class Transfer:
    """Moves one worker's records. The first commit ends the `outage`."""

    def __init__(
        self,
        spool: SpoolStore,
        database: Store,
        relay: SpoolRelay,
        outage: Outage,
        metrics: Metrics,
        renew_ids: RenewIds,
    ) -> None:
        """`renew_ids` replaces provisional ids, and ids that other events have."""
        self._renew_ids = renew_ids
        self._duplicates: set[int] = set()
        """Ids of events of this move that an earlier request has stored, with the same key."""
        self._reused: dict[int, Batch] = {}
        """Id → event, of those of this move whose key another event has. No one could know it before."""
        self._spool = spool
        self._database = database
        self._relay = relay
        self._outage = outage
        self._metrics = metrics

    async def move(self, group: Sequence[Record], *, proven: bool = False) -> Outcome:
        """`proven`: the database has taken another record since it refused these. Raises `StoreError`.

        The caller waits for the end of a move before it begins another one.
        """
        self._duplicates.clear()
        self._reused.clear()
        batches = {record.first_id: batch for record in group if (batch := record.unpacked())}
        for record in group:
            if record.first_id not in batches:
                await self._set_aside(Refused(record.first_id, record.count, _why(record), record.batch))
        whole = [record for record in group if record.first_id in batches]
        if not whole:
            return Outcome()
        first = batches[whole[0].first_id]
        if whole[0].lease_until is not None and not first.provisional:
            return await self._commit(whole[0], first, proven)
        return await self._commit_parts(whole, [*batches.values()], proven, self._insert)

    async def _commit(self, record: Record, batch: Batch, proven: bool) -> Outcome:
        """Commit an unpublished batch. If it is refused, this worker's relay publishes it: it was acknowledged."""
        try:
            await self._commit_new_events(batch, _unchanged)
        except IdsTaken as exc:
            _warn(batch, exc)
            return await self._commit_parts([record], [batch], proven, self._commit_with_new_ids)
        except BatchRefused as exc:
            self._report(exc)
            self._relay.retry(batch, range(len(batch)))
            return Outcome()
        self._outage.recovered()  # before the spool is written, whose disk may be full
        await self._finish([record], set(batch.ids), ())
        return Outcome(taken=True)

    async def _commit_parts(
        self,
        records: Sequence[Record],
        batches: Sequence[Batch],
        proven: bool,
        commit: Callable[[Sequence[Batch]], Awaitable[None]],
    ) -> Outcome:
        """Commit as many events as possible. A record stays while the blame for one of its events is not proven."""
        isolation = Isolation([batches], _halves, COMMITS_MAX, proven=proven)
        await isolation.run(commit, self._database.probe)
        if isolation.committed:
            self._outage.recovered()  # before the spool is written, whose disk may be full
        unproven = {event_id for part in isolation.left for batch in part for event_id in batch.ids}
        pairs = [*zip(records, batches, strict=True)]
        refused = [record for record, batch in pairs if not unproven.isdisjoint(batch.ids)]
        if refused and isolation.reason:
            self._report(isolation.reason)
        done = {event_id for record, batch in pairs if record not in refused for event_id in batch.ids}
        blamed = [(part, reason) for (part,), reason in isolation.blamed if part.first_id in done]
        await self._finish([record for record in records if record not in refused], done, blamed)
        return Outcome(isolation.committed, refused)

    async def _insert(self, batches: Sequence[Batch]) -> None:
        """Insert published batches, and commit those with provisional ids."""
        await self._commit_with_new_ids([batch for batch in batches if batch.provisional])
        if published := [batch for batch in batches if not batch.provisional]:
            await self._insert_published(published)

    async def _insert_published(self, batches: Sequence[Batch]) -> None:
        try:
            await self._database.insert_published(batches)
        except DuplicateKeys as exc:
            if len(batches) > 1:
                for batch in batches:
                    await self._insert_published([batch])
            elif new := self._without_duplicates(batches[0], exc):
                await self._insert_published([new])
        except IdsTaken as exc:
            if len(batches) == len(batches[0]) == 1:  # one id names two events: this one is published again
                _warn(batches[0], exc)
                await self._commit_with_new_ids(batches)
            else:
                raise BatchRefused(str(exc)) from exc  # the isolation finds the events whose ids are taken

    async def _commit_with_new_ids(self, batches: Sequence[Batch]) -> None:
        """Commit under ids of this worker, which publishes them. Their keys keep events from being stored twice."""
        for batch in batches:
            await self._commit_new_events(batch.keyed_by_ids(), self._renew_ids)
            # An earlier try has stored these, and has not counted them.
            self._duplicates.difference_update(
                event_id for event_id, event in zip(batch.ids, batch.events, strict=True) if not event.key
            )

    async def _commit_new_events(self, batch: Batch, prepare: Callable[[Batch], Awaitable[Batch]]) -> None:
        """Commit the events whose idempotency keys are new in the database."""
        left = batch
        while left:
            prepared = await prepare(left)
            try:
                await self._database.commit(prepared, lease_seconds=0.0, settled=[])
                break
            except DuplicateKeys as exc:
                left = self._without_duplicates(left, exc)

    def _without_duplicates(self, batch: Batch, duplicates: DuplicateKeys) -> Batch:
        """The other events. Another worker or node accepted the duplicates while the database was away."""
        for at, same in duplicates.same.items():
            if same:
                self._duplicates.add(batch.ids[at])
            else:
                self._reused[batch.ids[at]] = batch.part(at, at + 1)
        return without(batch, duplicates.same)

    async def _finish(
        self, records: Sequence[Record], done: Set[int], blamed: Sequence[tuple[Batch, StoreError]]
    ) -> None:
        """Remove records whose events, with the ids `done`, are in the database. Set aside the blamed events."""
        reused = [(part, KEY_REUSED) for event_id, part in self._reused.items() if event_id in done]
        aside = [*((part, str(reason)) for part, reason in blamed), *reused]
        for part, reason in aside:
            await self._set_aside(Refused(part.first_id, len(part), reason, pack(part)))
        await self._spool.remove(records)
        moved = sum(record.count for record in records) - len(aside)
        repeated = len(self._duplicates & done)
        self._metrics.durable_counters.count(None, stored=moved - repeated, repeated=repeated)
        self._metrics.drained.inc(moved)

    def _report(self, reason: StoreError) -> None:
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


def _why(record: Record) -> str:
    """Say why the record cannot be read."""
    return why_unreadable(record.batch) if is_newer(record.batch) else "the record is damaged"


def _warn(batch: Batch, reason: IdsTaken) -> None:
    log.warning(
        "other events have the ids of acknowledged ones, which get new ids",
        extra={"first_id": batch.first_id, "events": len(batch), "reason": str(reason)},
    )


async def _unchanged(batch: Batch) -> Batch:
    return batch


def _halves(batches: Sequence[Batch]) -> Sequence[Sequence[Batch]]:
    """The first half comes last, as the isolation takes the last part first. A single event has no halves."""
    if len(batches) > 1:
        return batches[len(batches) // 2 :], batches[: len(batches) // 2]
    (batch,) = batches
    middle = len(batch) // 2
    return ([batch.part(middle, len(batch))], [batch.part(0, middle)]) if middle else ()
