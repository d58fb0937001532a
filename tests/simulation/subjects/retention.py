"""The promises about old days: what may be removed, and what must be kept elsewhere before."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import zstandard

from ingest.events.ids import milliseconds_of
from ingest.retention.archive.manifest import Manifest
from ingest.retention.partitions import ONE_DAY, day_of
from tests.simulation.ledger import check
from tests.simulation.servers import IDEMPOTENCY_SECONDS, RETENTION_DAYS, Forgotten, Removed

if TYPE_CHECKING:
    from tests.simulation.world import World


class Archived(msgspec.Struct):
    """A line of an archive, as far as the world compares it."""

    id: str
    payload: msgspec.Raw


class RetentionPromises:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._archived: dict[int, bytes] = {}
        self._read: set[Path] = set()

    def look(self) -> None:
        servers = self._world.servers
        for removed in servers.new_removed():
            self._look_at_removed(removed)
        for forgotten in servers.new_forgotten():
            _look_at_forgotten(forgotten)

    def _look_at_removed(self, removed: Removed) -> None:
        servers, event_id, payload = self._world.servers, removed.event_id, removed.payload
        today = datetime.fromtimestamp(removed.at_us / 1e6, UTC).date()
        old = day_of(event_id) <= today - ONE_DAY * RETENTION_DAYS
        check(old, "a row of {} was removed on {}: {}", day_of(event_id), today, payload)
        published = servers.is_published(event_id, payload) and event_id not in servers.dead
        check(published, "removed, but never published: {} {}", event_id, payload)
        if servers.archives and event_id not in self._archived:
            self._read_archives()
        kept = not servers.archives or self._archived.get(event_id) == payload
        check(kept, "removed, and not in a whole archive: {} {}", event_id, payload)

    def _read_archives(self) -> None:
        for path in self._world.archive.rglob("*.zst.json"):
            if path not in self._read:
                self._read.add(path)
                self._read_archive(path)

    def _read_archive(self, path: Path) -> None:
        """Read an archive that has a manifest, apart from the service's own code."""
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        content = path.with_suffix("").read_bytes()
        check(hashlib.sha256(content).hexdigest() == manifest.sha256, "{} has another checksum", path.name)
        lines = zstandard.ZstdDecompressor().decompressobj().decompress(content).splitlines()
        check(len(lines) == manifest.events, "{} has {} events", path.name, len(lines))
        for line in lines:
            event = msgspec.json.decode(line, type=Archived)
            self._archived[int(event.id)] = bytes(event.payload)


def _look_at_forgotten(forgotten: Forgotten) -> None:
    age_seconds = forgotten.at_us / 1e6 - milliseconds_of(forgotten.event_id) / 1000
    check(
        age_seconds >= IDEMPOTENCY_SECONDS, "the key of {} was deleted after {:.0f} s", forgotten.event_id, age_seconds
    )
