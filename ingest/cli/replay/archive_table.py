"""The events of an archive, read as those of the table."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from ingest.errors import SettingsError
from ingest.events.event import Event
from ingest.retention.archive.event_line import ArchivedEvent, event_of
from ingest.retention.archive.manifest import MANIFEST, ArchiveDamaged, Manifest, manifest_of, read_manifest
from ingest.retention.archive.reader import check, lines
from ingest.store.event_query import EventFilter


class ArchiveTable:
    """Implements `ingest.store.event_query.EventTable`. It holds a page of events, and never the whole file.

    Every method raises `ArchiveDamaged` and `OSError`.
    """

    def __init__(self, data: Path, manifest: Manifest) -> None:
        self._data = data
        self._manifest = manifest
        self._rest: Iterator[ArchivedEvent] = iter(())
        self._position = -1
        """The id after which `_rest` goes on."""

    @classmethod
    def open(cls, path: Path) -> "ArchiveTable":
        """Check number and SHA-256 of the events. `path` is the archive or its manifest. Raises `SettingsError`."""
        data = path.with_suffix("") if path.name.endswith(MANIFEST) else path
        try:
            manifest = read_manifest(manifest_of(data))
        except FileNotFoundError as exc:
            raise SettingsError(
                f"{manifest_of(data)} is missing, the manifest of the archive: without it nobody knows if the archive "
                "is whole. Take both files from where the archive was written."
            ) from exc
        check(data, manifest)
        return cls(data, manifest)

    @property
    def source(self) -> str:
        """The checksum that names this archive's content."""
        return self._manifest.content_sha256

    async def newest_id(self) -> int:
        return int(self._manifest.last_id)

    async def count_events(self, selection: EventFilter) -> int:
        return await asyncio.to_thread(lambda: sum(_matches(event, selection) for event in self._events()))

    async def read_events(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        return await asyncio.to_thread(self._read, selection, limit)

    def _read(self, selection: EventFilter, limit: int) -> list[tuple[int, Event]]:
        """Go on where the last call ended, or read from the begin for events before that."""
        if self._position < 0 or selection.first_id <= self._position:
            self._rest, self._position = self._events(), 0
        found: list[tuple[int, Event]] = []
        for event in self._rest:
            self._position = event.event_id
            if _matches(event, selection):
                found.append((event.event_id, Event(event.call_id, event.event_type, event.payload_bytes)))
                if len(found) == limit:
                    break
        return found

    def _events(self) -> Iterator[ArchivedEvent]:
        for number, line in enumerate(lines(self._data), 1):
            try:
                yield event_of(line)
            except ValueError as exc:
                raise ArchiveDamaged(f"{self._data}:{number} is no event: {exc}.") from exc


def _matches(event: ArchivedEvent, selection: EventFilter) -> bool:
    return (
        selection.first_id <= event.event_id <= selection.last_id
        and (not selection.call_ids or event.call_id in selection.call_ids)
        and (not selection.event_types or event.event_type in selection.event_types)
        and (not selection.ids or event.event_id in selection.ids)
    )
