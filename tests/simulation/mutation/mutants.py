"""The mutants: each is one change of the service's code that breaks one of its promises.

A mutant names the text that it replaces, which occurs once in its file. So a change of that code fails a test, and its
author decides anew what the mutant should be.

A change that only delays work by a lease is none: after faults, a schedule cannot tell it from a slow server. An
example is a drainer that does not give back the records that it could not move. Unit tests find these.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """`path` is below `ingest/`."""

    name: str
    path: str
    old: str
    new: str


BATCHER = (
    Mutant(
        "a failed commit is answered as durable",
        "pipeline/batcher.py",
        "self._answer(group, failures_of_all(group.events, error))",
        "self._answer(group, {})",
    ),
    Mutant(
        "clients are answered before the commit",
        "pipeline/batcher.py",
        "            batch = self._make_batch(group)\n",
        "            batch = self._make_batch(group)\n            self._answer(group, {})\n",
    ),
    Mutant(
        "a writer that is cancelled leaves its group without an answer",
        "pipeline/batcher.py",
        "        except asyncio.CancelledError:\n"
        "            self._fail(group, StoreUnavailable())\n            raise\n",
        "        except asyncio.CancelledError:\n            raise\n",
    ),
    Mutant(
        "a stopped worker leaves queued groups without an answer",
        "pipeline/batcher.py",
        "        for group in self._queue.clear():\n            self._fail(group, StoreUnavailable())\n",
        "        self._queue.clear()\n",
    ),
    Mutant(
        "the queue has no bound",
        "pipeline/event_queue.py",
        "        if events_left < 1 or bytes_left < size or late:\n",
        "        if bytes_left < size:\n",
    ),
    Mutant(
        "a group that was taken takes further events",
        "pipeline/event_queue.py",
        "        if group is self._newest:\n            self._newest = None\n        if group.help:",
        "        if group.help:",
    ),
)

COMMITTER = (
    Mutant(
        "a commit that the deadline ended counts as made",
        "pipeline/committer.py",
        "        except TimeoutError:\n            reason: StoreError = StoreUnavailable(",
        "        except TimeoutError:\n            return {}\n            reason: StoreError = StoreUnavailable(",
    ),
    Mutant(
        "a full spool counts as a commit",
        "pipeline/committer.py",
        "        failures = await self._targets.commit(batch, self._spool)\n",
        "        try:\n            failures = await self._targets.commit(batch, self._spool)\n"
        "        except StoreError:\n            failures = {}\n",
    ),
    Mutant(
        "an outage is not remembered, so each batch waits for the database",
        "pipeline/committer.py",
        "        if self._spool and self._outage.reason:\n",
        "        if False:\n",
    ),
    Mutant(
        "provisional ids go to the database",
        "pipeline/committer.py",
        "        if batch.provisional:\n",
        "        if False:\n",
    ),
    Mutant(
        "a refused batch blames all its rows",
        "pipeline/refused_rows.py",
        "        if len(batch) == 1:  # nothing proves",
        "        if True:\n            return {id(event): reason for event in batch.events}\n"
        "        if len(batch) == 1:  # nothing proves",
    ),
    Mutant(
        "a suspect counts as to blame without a proof",
        "pipeline/isolation.py",
        "            elif self.proven or isinstance(reason, RowRefused):\n",
        "            elif True:\n",
    ),
    Mutant(
        "an outage that begins during a search blames its events",
        "pipeline/isolation.py",
        "                await probe()\n                reason = await self._try(part, commit)\n",
        "                pass\n",
    ),
    Mutant(
        "the parts that a search has left are forgotten",
        "pipeline/refused_rows.py",
        "        for part in left:\n",
        "        for part in left[:0]:\n",
    ),
    Mutant(
        "a failed commit forgets the entries that it should have settled",
        "pipeline/commit_target.py",
        "            self.settler.add(settled)  # a later commit settles them\n",
        "            pass\n",
    ),
    Mutant(
        "the caller counts a duplicate's neighbors as duplicates",
        "pipeline/target_committer.py",
        "                batch = without(batch, exc.same)\n",
        "                break\n",
    ),
    Mutant(
        "a provisional batch is published",
        "pipeline/target_committer.py",
        "        if not batch.provisional:  # its events are published later",
        "        if True:  # its events are published later",
    ),
)

PUBLISHING = (
    Mutant(
        "refused messages are settled",
        "pipeline/dispatcher.py",
        "            refused = exc.positions if isinstance(exc, NotConfirmed) else range(len(batch))\n",
        "            refused = ()\n",
    ),
    Mutant(
        "positions of a group are taken for positions of its first batch",
        "pipeline/dispatcher.py",
        "            start = stop\n",
        "            start = 0\n",
    ),
    Mutant(
        "the group's refused positions are not given to the relay",
        "pipeline/dispatcher.py",
        "                target.relay.retry(batch, positions)\n            else:",
        "                pass\n            else:",
    ),
    Mutant(
        "an entry without a lease is never published",
        "outbox/relay.py",
        "self._claimed.extend(await self._outbox.claim(self._limits.entries_max, self._limits.lease_seconds))\n",
        "await self._outbox.claim(self._limits.entries_max, self._limits.lease_seconds)\n",
    ),
    Mutant(
        "the relay settles what it could not publish",
        "outbox/relay.py",
        "[batch.first_id for batch in batches if batch.first_id not in failed]",
        "[batch.first_id for batch in batches]",
    ),
    Mutant(
        "the relay forgets entries whose settling failed",
        "outbox/relay.py",
        "            again = [batch.first_id for batch in batches]  # settled",
        "            again = list(failed)  # settled",
    ),
    Mutant(
        "the relay takes a lost connection for a confirm",
        "outbox/relay.py",
        "            self._outage.record(0, str(exc))\n            raise\n",
        "            self._outage.record(0, str(exc))\n"
        "            if isinstance(exc, NotConfirmed):\n                raise\n",
    ),
    Mutant(
        "the relay publishes the wrong rest",
        "outbox/relay.py",
        "return [at for at in refused.positions if at not in dead_lettered]",
        "return [at for at in refused.positions if at not in dead_lettered][1:]",
    ),
    Mutant(
        "dead letters leave the outbox, but are not stored",
        "outbox/dead_letters.py",
        "            await self._table.add_dead(batch.picked(positions), reason)\n",
        "            pass\n",
    ),
    Mutant(
        "a failed settling is forgotten",
        "outbox/settler.py",
        "            self.add(first_ids)\n            return False\n",
        "            return False\n",
    ),
    Mutant(
        "a batch whose last event waits for an answer elsewhere fails",
        "broker/stream/node.py",
        "return next((self._open[publishing_id] for publishing_id in ids if publishing_id in self._open), None)",
        "if self._open.keys().isdisjoint(ids):\n            return None\n"
        "        return next(self._open[publishing_id] for publishing_id in ids if publishing_id in self._open)",
    ),
    Mutant(
        "an entry is deleted in the transaction that makes it",
        "store/mysql/statements/commit.py",
        "    if settled:\n        statements.append(delete_entries(settled))\n",
        "    statements.append(delete_entries([*settled, batch.first_id]))\n",
    ),
    Mutant(
        "a commit makes no outbox entry",
        "store/mysql/statements/commit.py",
        "statements = [*insert_keys(batch), insert_events(batch), INSERT_ENTRY % entry]",
        "statements = [*insert_keys(batch), insert_events(batch)]",
    ),
)

STORE = (
    Mutant(
        "a duplicate key always means an earlier try of this batch",
        "store/mysql/store.py",
        "                await self._check_stored(batch)\n                await self.settle(settled)\n",
        "                pass\n",
    ),
    Mutant(
        "the entry of a batch is deleted for the part of it that is published",
        "store/mysql/statements/outbox.py",
        '(first_id = %d AND count <= %d)"',
        '(first_id = %d OR count > 1000 + %d)"',
    ),
    Mutant(
        "ids that other events have count as this batch's own",
        "store/mysql/store.py",
        "        if not set(rows) <= set(own):\n            raise IdsTaken(batch.slot)\n",
        "",
    ),
    Mutant(
        "a conflict rolls back, and counts as made",
        "store/mysql/store.py",
        "            except (Retry, StoreUnavailable):\n"
        "                if attempt == RETRIES_MAX:\n                    raise\n",
        "            except Retry:\n                return []\n            except StoreUnavailable:\n"
        "                if attempt == RETRIES_MAX:\n                    raise\n",
    ),
    Mutant(
        "an unlisted error of the server blames the rows",
        "store/mysql/errors.py",
        "    return BatchRefused(text)\n",
        "    from ingest.errors import RowRefused\n\n    return RowRefused(text)\n",
    ),
    Mutant(
        "another process may renew a slot that is not its own",
        "store/mysql/statements/slots.py",
        "WHERE slot = %d AND node = %s AND life IN (%s, %s)",
        "WHERE slot = %d AND node <> CONCAT(%s, %s, %s)",
    ),
    Mutant(
        "a slot that is leased now starts at time zero",
        "pipeline/identity.py",
        "IdGenerator(lease.slot, self._now_us, lease.last_issued_ms)",
        "IdGenerator(lease.slot, self._now_us, 0)",
    ),
    Mutant(
        "a clock that goes back makes ids again",
        "events/ids.py",
        "return max((self._now_us() // 1000 - EPOCH_MS) << SEQUENCE_BITS, self._next_tick)",
        "return (self._now_us() // 1000 - EPOCH_MS) << SEQUENCE_BITS",
    ),
    Mutant(
        "a copied data folder has the original's slot",
        "pipeline/id_lease.py",
        "        if here.proves(note.evidence):\n",
        "        if True:\n",
    ),
    Mutant(
        "a lost slot is used further",
        "pipeline/identity.py",
        "            await self._slots.give_up()\n            await self._take_or_do_without()\n\n    def _lose",
        "            self._use_slot()\n\n    def _lose",
    ),
    Mutant(
        "a slot is used after its lease",
        "pipeline/id_lease.py",
        "        return self.lease is not None and self.lease.until_ms < self._now_ms() + MARGIN_MS\n",
        "        return False\n",
    ),
)

SPOOL = (
    Mutant(
        "a batch is not brought to the disk",
        "spool/segments/log.py",
        "            if sync:\n                _sync(segment, end)\n",
        "",
    ),
    Mutant(
        "a failed write leaves its record in the index",
        "spool/segments/journal.py",
        "        places = self.log.append(entries, sync=True)\n        for record",
        "        try:\n            places = self.log.append(entries, sync=True)\n        except OSError:\n"
        "            return\n        for record",
    ),
    Mutant(
        "a record is removed before the database has it",
        "spool/transfer.py",
        "    async def _commit(self, record: Record, batch: Batch, proven: bool) -> Outcome:\n",
        "    async def _commit(self, record: Record, batch: Batch, proven: bool) -> Outcome:\n"
        "        await self._spool.remove([record])\n",
    ),
    Mutant(
        "a refused record leaves the spool",
        "spool/drainer.py",
        "            if record not in outcome.refused:\n                left.pop(record.first_id, None)\n",
        "            left.pop(record.first_id, None)\n        await self._spool.remove(outcome.refused)\n",
    ),
    Mutant(
        "the drainer takes records for published that are not",
        "spool/transfer.py",
        "        if whole[0].lease_until is not None and not first.provisional:\n",
        "        if False:\n",
    ),
    Mutant(
        "events of the spool whose ids others have are dropped",
        "spool/transfer.py",
        "            return await self._commit_parts([record], [batch], proven, self._commit_with_new_ids)\n",
        "            await self._finish([record], set(batch.ids), ())\n            return Outcome(taken=True)\n",
    ),
    Mutant(
        "a spool that has the ids keeps the older events",
        "spool/segments/journal.py",
        "        if self.has(record):\n            return\n        if self.index.find(record.first_id):\n"
        "            raise IdsTaken(batch.slot)\n",
        "        if self.index.find(record.first_id):\n            return\n",
    ),
    Mutant(
        "an adopted spool's records are deleted",
        "spool/segments/journal.py",
        "        self.log.place(loader.segments)\n        self.damages",
        "        for row in self.index.after(-1, 1_000_000):\n            self.index.remove(row.first_id)\n"
        "        self.log.place(loader.segments)\n        self.damages",
    ),
    Mutant(
        "the drainer never ends an outage",
        "spool/transfer.py",
        "        self._outage.recovered()  # before the spool is written, whose disk may be full\n        await",
        "        await",
    ),
    Mutant(
        "a batch that moves from the spool is sent whole again",
        "server/factories/publishing.py",
        "self.dead_letter_policy, self.progress\n",
        "self.dead_letter_policy, Progress()\n",
    ),
    Mutant(
        "what is known of a batch counts for another one with its first id",
        "outbox/progress.py",
        "        if rest and rest.fingerprint != _fingerprint(batch):\n",
        "        if False:\n",
    ),
    Mutant(
        "a part of a stored batch settles the entry of the whole",
        "store/mysql/store.py",
        "        if await self._read_once(outbox.IS_LARGER % (batch.first_id, len(batch))):\n",
        "        if False:\n",
    ),
    Mutant(
        "a published record is published again by every relay",
        "spool/store.py",
        "        await self._run(lambda: self._journal.settle(first_ids))\n",
        "        pass\n",
    ),
)

TOKENS = (
    Mutant(
        "tokens are forgotten while the database is away",
        "auth/token_refresh.py",
        '            log.debug("cannot read the tokens", extra={"reason": str(exc)})\n',
        '            log.debug("cannot read the tokens", extra={"reason": str(exc)})\n            self._tokens = ()\n',
    ),
    Mutant(
        "a removed token that was sent before stays valid",
        "auth/authenticator.py",
        "        self._quick.clear()\n",
        "",
    ),
    Mutant(
        "tokens never expire",
        "auth/token_refresh.py",
        "valid = [token for token in self._tokens if token.is_valid(now_us)]",
        "valid = [*self._tokens]",
    ),
    Mutant(
        "a token expires only when the database is read",
        "auth/token_refresh.py",
        "        self._use_valid()\n        if not self._is_saved(known):\n",
        "        if known:\n            self._use_valid()\n        if not self._is_saved(known):\n",
    ),
    Mutant(
        "no file has the tokens for a worker that starts without the database",
        "auth/token_refresh.py",
        "            replace_file(self._file, _encode(self._tokens))\n"
        "            self._saved, self._mark = self._tokens, _mark_of(self._file)\n",
        "            self._saved = self._tokens\n",
    ),
    Mutant(
        "a token that reads may post",
        "auth/token_refresh.py",
        "self._authenticator.use([token for token in valid if POST in token.scopes])",
        "self._authenticator.use(valid)",
    ),
    Mutant(
        "tokens of the database take the place of the configured ones",
        "auth/authenticator.py",
        "client = self._configured if found else self._table.get(given)",
        "client = self._table.get(given) if self._table else self._configured if found else None",
    ),
)

RETENTION = (
    Mutant(
        "retention goes by this host's clock",
        "retention/run.py",
        "        check_clocks(before_us, facts.now_us, self._now_us())\n        return plan(facts,",
        "        from msgspec.structs import replace\n\n        from ingest.events.ids import first_id_of\n\n"
        "        return plan(replace(facts, now_us=before_us, newest_id=first_id_of(before_us // 1000)),",
    ),
    Mutant(
        "a day with events of the outbox is dropped",
        "store/mysql/partitioning/partitions.py",
        "SELECT MIN(first_id) AS id FROM ingest_outbox ",
        "SELECT MIN(first_id) AS id FROM ingest_outbox WHERE first_id < 0 ",
    ),
    Mutant(
        "a day with a dead letter is dropped",
        "store/mysql/partitioning/partitions.py",
        "SELECT MIN(event_id) FROM ingest_dead_letters)",
        "SELECT MIN(event_id) FROM ingest_dead_letters WHERE event_id < 0)",
    ),
    Mutant(
        "a day is dropped without its archive",
        "store/mysql/partitioning/partitions.py",
        "            await keep(DroppedRows(self.connection))\n        except Exception:",
        "            pass\n        except Exception:",
    ),
    Mutant(
        "an interrupted drop is never finished",
        "retention/run.py",
        "            await self._table.finish_drop(planned.before_id, self._keep)\n",
        "            pass\n",
    ),
    Mutant(
        "a day too many is dropped",
        "retention/partitions.py",
        "too_old = end_of(last_day - ONE_DAY * keep_days)",
        "too_old = end_of(last_day - ONE_DAY * (keep_days - 1))",
    ),
    Mutant(
        "keys are forgotten by this host's clock",
        "retention/idempotency_keys.py",
        "now_us = min(self._now_us(), await self._store.clock_us())",
        "now_us = self._now_us()",
    ),
    Mutant(
        "a lost answer ends retention",
        "store/mysql/partitioning/partitions.py",
        "        connection.query_seconds_max = query_seconds_max\n",
        "",
    ),
)

THREADS = (
    Mutant(
        "threads share a decompressor",
        "events/batch_codec.py",
        "class _Zstandard(threading.local):",
        "class _Zstandard:",
    ),
    Mutant(
        "a damaged record hides those behind it",
        "spool/segments/format.py",
        "            offset = reader.find(mark, offset + 1)\n            continue\n",
        "            break\n",
    ),
)

MUTANTS = (*BATCHER, *COMMITTER, *PUBLISHING, *STORE, *SPOOL, *TOKENS, *RETENTION, *THREADS)
