"""The whole move from the original: tables, rows, jobs. Every step finds out from the tables what is left to do."""

from collections.abc import AsyncIterator, Sequence

from ingest.clock import NowUs, time_text
from ingest.errors import StoreError
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.laravel.jobs import JobMove
from ingest.store.mysql.laravel.options import Options, Progress
from ingest.store.mysql.laravel.rows import RowCopy, in_utc
from ingest.store.mysql.laravel.swap import JOBS_NODE, ROWS_NODE, Swap
from ingest.store.mysql.laravel.tables import ASIDE, FAILED, IDS, JOBS, Table, look, strange_columns
from ingest.store.mysql.partitioning.partitions import Reached, database_now_us
from ingest.store.mysql.partitioning.unfinished import existing

AHEAD_SECONDS_MAX = 600
SAMPLE_ROWS = 1000
SAMPLE = (
    b"SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', old.created_time), "
    b"COALESCE(JSON_VALID(CONVERT(old.payload USING utf8mb4)), 0) FROM %b AS old ORDER BY old.id %b LIMIT %d"
)
COUNT = b"SELECT COUNT(*) FROM %b"
COUNT_MISSING = (
    b"SELECT COUNT(*) FROM %b AS old LEFT JOIN ingest_adopted_ids AS m ON m.old_id = old.id WHERE m.old_id IS NULL"
)


class Adoption:
    """Needs a connection that holds the lock of the partitions. `plan` and `run` yield lines for the operator.

    Both raise `StoreError` with the evidence if a table is not the original's. `run` also does at its end, if jobs
    are left with the original.
    """

    def __init__(
        self,
        connection: Connection,
        options: Options,
        now_us: NowUs,
        progress: Progress,
        reached: Reached = lambda _: None,
    ) -> None:
        self._connection = connection
        self._options = options
        self._now_us = now_us
        self._progress = progress
        self._reached = reached
        self._swap = Swap(connection, options.still_seconds, reached)

    async def plan(self) -> AsyncIterator[str]:
        """Say what `run` would do. Nothing is changed."""
        tables = await look(self._connection)
        original = tables.original
        if original is None:
            yield "There is no table of the original: no row would be copied."
        else:
            await self._check_zone(original)
            rows = await self._missing(original)
            if not tables.swapped:
                yield f"{original.name} is the original's table. It would be put aside as {ASIDE.decode()}."
            yield f"{rows} rows would be copied to call_event_logs, under ids made of their created_time."
            async for line in self._sampled(original):
                yield line
        for table in (JOBS, FAILED):
            yield await self._planned_jobs(table)

    async def run(self) -> AsyncIterator[str]:
        """The tables of this version must be there, except for `call_event_logs`."""
        tables = await look(self._connection)
        if tables.original is not None:
            await self._check_zone(tables.original)
        await self._swap.prepare()
        await self._swap.forward(tables)
        tables = await look(self._connection)
        if tables.aside is not None:
            yield await self._copied(tables.aside)
        left = []
        for table in (JOBS, FAILED):
            async for line in self._moved(table):
                yield line
            left += [text for text in [await self._left(table)] if text]
        if left:
            raise StoreError(" ".join(left))

    async def _copied(self, aside: Table) -> str:
        slot = await self._swap.kept_slot(ROWS_NODE)
        copy = RowCopy(self._connection, aside, slot, self._options, self._progress, self._reached)
        copied = await copy.run()
        repaired = [
            f"{copied.untimed} had no time and got that of the row before them" if copied.untimed else "",
            f"{copied.no_json} had a payload that is no JSON and is now a JSON string" if copied.no_json else "",
        ]
        return "; ".join([f"{copied.rows} rows copied to call_event_logs", *filter(None, repaired)])

    async def _moved(self, table: bytes) -> AsyncIterator[str]:
        reason = await strange_columns(self._connection, table)
        if reason is not None:
            return
        moved = await (await self._jobs(table)).run()
        where = "messages put in the outbox" if table == JOBS else "dead letters made; see `ingest dead ls`"
        yield f"{moved.messages} jobs of {table.decode()}: {where}"
        if moved.rowless:
            yield f"{moved.rowless} of them have ids of their own: no row has their event, or it was sent before"
        for job, why in moved.unreadable.items():
            yield f"job {job} of {table.decode()} stays there: {why}"

    async def _left(self, table: bytes) -> str:
        if await strange_columns(self._connection, table) is not None:
            return ""
        count, reserved = await (await self._jobs(table)).left()
        if not count:
            return ""
        of_worker = (
            f" A worker of Laravel has {reserved} of them: stop it, or wait {self._options.reserved_seconds} s."
            if reserved
            else ""
        )
        return f"{count} jobs are left in {table.decode()}.{of_worker} Run the command again."

    async def _jobs(self, table: bytes) -> JobMove:
        slot = await self._swap.kept_slot(JOBS_NODE)
        return JobMove(self._connection, table, slot, self._options, self._now_us, self._reached)

    async def _planned_jobs(self, table: bytes) -> str:
        name = table.decode()
        reason = await strange_columns(self._connection, table)
        if reason:
            return f"{name} is not Laravel's table, and is left alone: {reason}."
        if reason == "":
            return f"There is no table {name}. Let Laravel's worker empty its queue first, if it has another one."
        count, reserved = await JobMove(self._connection, table, 0, self._options, self._now_us).left()
        become = "messages" if table == JOBS else "dead letters"
        of_worker = f"; a worker of Laravel has {reserved} of them now" if reserved else ""
        return f"{count} jobs of {name} ({self._options.job}) would become {become}{of_worker}."

    async def _missing(self, original: Table) -> int:
        name = original.name.encode()
        question = COUNT_MISSING if await existing(self._connection, IDS) else COUNT
        return int((await self._connection.run(question % name))[0][0])

    async def _check_zone(self, original: Table) -> None:
        """Raises `StoreError` if the newest rows are of the future: their zone is another one."""
        now_us = await database_now_us(self._connection)
        times = [row[0] for row in await self._sample(original, b"DESC") if row[0] and row[0] > 0]
        ahead = [us for us in times if in_utc(us, self._options.zone) > now_us + AHEAD_SECONDS_MAX * 1_000_000]
        if times and len(ahead) * 2 > len(times):
            newest = time_text(in_utc(ahead[0], self._options.zone))
            raise StoreError(
                f"The newest rows of {original.name} are of {newest}, and now is {time_text(now_us)}. Nothing "
                "was changed: give the zone of created_time, such as --zone Asia/Baku."
            )

    async def _sampled(self, original: Table) -> AsyncIterator[str]:
        """Faults among the oldest and the newest rows."""
        rows = [row for order in (b"ASC", b"DESC") for row in await self._sample(original, order)]
        if untimed := sum(not row[0] or row[0] <= 0 for row in rows):
            yield f"{untimed} of {len(rows)} rows looked at have no created_time: each gets that of the row before it."
        if no_json := sum(not row[1] for row in rows):
            yield f"{no_json} of {len(rows)} rows looked at have a payload that is no JSON: it becomes a JSON string."

    async def _sample(self, original: Table, order: bytes) -> Sequence[tuple[int | None, int]]:
        rows = await self._connection.run(SAMPLE % (original.name.encode(), order, SAMPLE_ROWS))
        return [(row[0], row[1]) for row in rows]
