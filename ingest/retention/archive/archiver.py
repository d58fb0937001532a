"""Archives the rows of a day, before retention drops them."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from ingest.clock import NowUs, time_text
from ingest.retention.archive.draft import Draft
from ingest.retention.archive.event_line import line_of
from ingest.retention.archive.folder import ArchiveFolder
from ingest.retention.archive.manifest import ArchiveDamaged, ArchiveFailed, Manifest
from ingest.retention.archive.reader import Content, read_content
from ingest.retention.kept_rows import Summary, TakenRows
from ingest.retention.partitions import day_of

T = TypeVar("T")

SERVICE_REST = 4.0
"""In the service an archive rests four times as long as it works, so that events have the worker's CPU."""
COMPRESSED = 10
"""A day's archive is expected to need one part in this many of the table's bytes."""


Observer = Callable[[Manifest], object]
Reached = Callable[[str], object]
"""Called with the step that has ended. Tests kill the process there."""


class Archiver:
    """Writes one archive at a time. `rest` is the pause after each page, as a multiple of the time that it took.

    `archived` receives the manifest of each proven archive.
    """

    def __init__(
        self,
        folder: ArchiveFolder,
        now_us: NowUs,
        archived: Observer = lambda _: None,
        *,
        rest: float = 0.0,
        reached: Reached = lambda _: None,
    ) -> None:
        self._folder = folder
        self._now_us = now_us
        self._archived = archived
        self._rest = rest
        self._reached = reached

    async def check(self, table_bytes: int) -> None:
        """Find out before any row is moved whether an archive can be written. Raises `ArchiveFailed`."""
        await _in_thread(lambda: self._folder.check(table_bytes // COMPRESSED))

    async def keep(self, rows: TakenRows) -> None:
        """Archive the rows, and prove it. See `Keep`."""
        if not (before := await rows.summary()).events:
            return
        await self.check(0)
        with ExitStack() as stack:
            await _in_thread(lambda: stack.enter_context(self._folder.locked()))
            draft = await _in_thread(self._folder.draft)
            stack.callback(draft.discard)
            await self._write(draft, rows)
            content = await _in_thread(draft.prove)
            self._reached("proven")
            _compare(draft, before, await rows.summary())
            await _in_thread(lambda: self._publish(draft, content))

    async def _write(self, draft: Draft, rows: TakenRows) -> None:
        async for page in rows.pages():
            began = time.monotonic()
            try:
                lines = [line_of(*row) for row in page]
            except ValueError as exc:
                raise ArchiveFailed(
                    f"An event of {page[0][0]} to {page[-1][0]} cannot be archived: {exc}. No event was dropped: "
                    "correct or delete its row."
                ) from exc
            worked = time.monotonic() - began
            await _in_thread(partial(draft.add, [row[0] for row in page], lines))
            self._reached("page")
            if self._rest:
                await asyncio.sleep(worked * self._rest)

    def _publish(self, draft: Draft, content: Content) -> None:
        day = str(day_of(draft.last_id))
        for data in self._folder.parts(day):
            if _content(data).content_sha256 == content.content_sha256:
                break  # a killed process has written this archive already
        else:
            data = self._folder.publish(draft.path, day)
        self._reached("named")
        manifest = draft.manifest(data, day, time_text(self._now_us()))
        if self._folder.manifest(data) is None:
            self._folder.describe(data, manifest)
            self._archived(manifest)
        self._reached("archived")


def _content(data: Path) -> Content:
    try:
        return read_content(data)
    except ArchiveDamaged:
        return Content(0, 0, "", 0, "")


def _compare(draft: Draft, before: Summary, after: Summary) -> None:
    """Compare the archive with the table. Raises `ArchiveFailed`."""
    written = Summary(draft.events, draft.first_id, draft.last_id, draft.ids_xor)
    if not before == after == written:
        raise ArchiveFailed(
            f"The archive has {written.events} events, the table {after.events}, and {before.events} at the begin, or "
            "their ids differ. No event was dropped."
        )


async def _in_thread(work: Callable[[], T]) -> T:
    """Raises `ArchiveFailed` for errors of the disk."""
    try:
        return await asyncio.to_thread(work)
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        raise ArchiveFailed(
            f"The archive cannot be written ({where}{exc.strerror or exc}). No event was dropped: the day is kept."
        ) from exc
    except ArchiveDamaged as exc:
        raise ArchiveFailed(f"{exc} No event was dropped.") from exc
