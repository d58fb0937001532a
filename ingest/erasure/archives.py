"""Erases events from archives: a new file without them takes an archive's place, with a new manifest.

The new file has another name. Its manifest names the old archive, which is deleted afterwards. So a process may be
killed after any step: the next run finds out from the manifests how far it came.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from ingest.clock import NowUs, time_text
from ingest.erasure.matcher import Matcher
from ingest.erasure.report import Report
from ingest.retention.archive.draft import Draft
from ingest.retention.archive.event_line import event_of
from ingest.retention.archive.folder import ArchiveFolder
from ingest.retention.archive.manifest import ArchiveDamaged, ArchiveFailed, Manifest, data_files, manifest_of
from ingest.retention.archive.reader import check, lines, read_content

PAGE_LINES = 500

Reached = Callable[[str], object]
Erase = Callable[[Sequence[int]], Awaitable[None]]
"""Stores a tombstone for these events. Raises `StoreError`."""


class ArchiveErasure:
    """Blocks while it reads and writes files."""

    def __init__(
        self,
        folder: ArchiveFolder,
        matcher: Matcher,
        report: Report,
        erase: Erase,
        now_us: NowUs,
        reached: Reached = lambda _: None,
    ) -> None:
        self._folder = folder
        self._matcher = matcher
        self._report = report
        self._erase = erase
        self._now_us = now_us
        self._reached = reached

    async def run(self) -> None:
        """Archives that cannot be read or written become problems of the report. Raises `StoreError`."""
        try:
            await self._run()
        except (ArchiveFailed, ArchiveDamaged, OSError) as exc:
            self._report.add_problem(f"archives: {exc}")

    async def _run(self) -> None:
        self._folder.check_mark()
        if not self._report.acted:
            await self._search_all()
            return
        self._folder.check()
        with self._folder.locked():
            self._remove_replaced()
            await self._search_all()

    async def _search_all(self) -> None:
        for data in data_files(self._folder.path) if self._folder.path.is_dir() else ():
            try:
                await self._search(data)
            except ArchiveDamaged as exc:
                self._report.add_problem(str(exc))

    async def _search(self, data: Path) -> None:
        manifest = self._folder.manifest(data)
        if manifest:
            check(data, manifest)
        found, events = [], 0
        for line in lines(data):
            events += 1
            if (event_id := self._id_of_match(line, data)) is not None:
                found.append(event_id)
        self._report.add("archives", events, len(found))
        if not found:
            return
        self._report.archives.append(f"{data.name}: {len(found)}")
        if manifest is None:
            self._report.add_problem(f"{data} has {len(found)} of these events and no manifest: delete or complete it.")
        elif self._report.acted:
            await self._erase(found)
            self._reached("told")
            self._rewrite(data, manifest, frozenset(found))

    def _rewrite(self, data: Path, manifest: Manifest, erased: frozenset[int]) -> None:
        draft = self._folder.draft()
        try:
            _copy(data, draft, erased)
            content = draft.prove()
            self._reached("rewritten")
            new = self._named_before(data, manifest.day, content.content_sha256)
            new = new or self._folder.publish(draft.path, manifest.day)
        finally:
            draft.discard()
        self._reached("named")
        described = draft.manifest(new, manifest.day, time_text(self._now_us()))
        count = manifest.erased + len(erased)
        self._folder.describe(new, msgspec.structs.replace(described, replaces=data.name, erased=count))
        self._reached("described")
        self._folder.remove(data)
        self._reached("removed")

    def _named_before(self, old: Path, day: str, content_sha256: str) -> Path | None:
        """Return a file that a killed run has written, and not described yet."""
        for part in self._folder.parts(day):
            if part != old and not manifest_of(part).exists() and _sha256_of(part) == content_sha256:
                return part
        return None

    def _remove_replaced(self) -> None:
        """Delete archives that a killed run has replaced. The new one must be whole before the old one goes."""
        for data, manifest in list(self._folder.archives()):
            old = self._folder.path / manifest.replaces
            if not manifest.replaces or not (old.exists() or manifest_of(old).exists()):
                continue
            try:
                check(data, manifest)
                _check_replaces(manifest, self._folder.manifest(old))
            except ArchiveDamaged as exc:
                self._report.add_problem(f"{exc} {old.name} is kept, which it replaces.")
            else:
                self._folder.remove(old)

    def _id_of_match(self, line: bytes, data: Path) -> int | None:
        try:
            event = event_of(line)
        except ValueError as exc:
            raise ArchiveDamaged(f"{data} has a line that is no event: {exc}.") from exc
        return event.event_id if self._matcher.matches(event.payload_bytes, event.call_id) else None


def _copy(data: Path, draft: Draft, erased: frozenset[int]) -> None:
    ids: list[int] = []
    kept: list[bytes] = []
    for line in lines(data):
        if (event_id := event_of(line).event_id) not in erased:
            ids.append(event_id)
            kept.append(line + b"\n")
        if len(ids) == PAGE_LINES:
            draft.add(ids, kept)
            ids, kept = [], []
    draft.add(ids, kept)


def _check_replaces(new: Manifest, old: Manifest | None) -> None:
    """Raises `ArchiveDamaged` if the new archive cannot be the old one without its erased events."""
    if old and (old.day, old.events) != (new.day, new.events + new.erased - old.erased):
        raise ArchiveDamaged(f"{new.file} has {new.events} events of {new.day}: it does not replace {old.file}.")


def _sha256_of(data: Path) -> str:
    try:
        return read_content(data).content_sha256
    except ArchiveDamaged:
        return ""
