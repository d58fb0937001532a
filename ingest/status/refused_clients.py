"""Counts refused requests by client address. Each worker writes its counts into a file that all workers read."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ingest.files.atomic import replace_volatile
from ingest.status.snapshot import RefusedClient

ENTRIES_MAX = 100
"""Entries of a worker. A new one replaces the one that was refused the longest time ago."""
SHOWN_MAX = 20
SECONDS = 600.0
"""The status page leaves out entries without a refusal for this long."""

Key = tuple[str, str, str]
"""A client's address without its port, the resource that it posted to, and the error's code."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[RefusedClient]).decode


class RefusedClients:
    def __init__(self, unix_seconds: Callable[[], float] = time.time) -> None:
        self._unix_seconds = unix_seconds
        self._entries: dict[Key, RefusedClient] = {}
        self._changed = False

    def count(self, address: str, resource: str, code: str) -> bool:
        """Count a refusal. Return False if the entry is new and needs `describe`."""
        entry = self._entries.get((address, resource, code))
        if entry is None:
            return False
        entry.count += 1
        entry.time = self._unix_seconds()
        self._changed = True
        return True

    def describe(self, address: str, resource: str, code: str, token: str, fields: Mapping[str, str]) -> None:
        """Begin an entry. `token` is the name of the token, and `fields` are the rules that fields broke."""
        if len(self._entries) >= ENTRIES_MAX:
            del self._entries[min(self._entries, key=lambda key: self._entries[key].time)]
        now = self._unix_seconds()
        self._entries[address, resource, code] = RefusedClient(now, address, resource, code, 1, token, dict(fields))
        self._changed = True

    def save(self, path: Path) -> None:
        """Write the file for the other workers, if there is a new refusal."""
        if self._changed:
            self._changed = False
            replace_volatile(path, _encode(list(self._entries.values())))

    def of_all(
        self, folder: Path, own: Path, seconds: float = SECONDS, shown_max: int = SHOWN_MAX
    ) -> list[RefusedClient]:
        """Return the entries of all workers, added up, the newest first. `own` is this worker's file.

        Entries without a refusal for `seconds` are left out.
        """
        found = [entry for path in folder.glob("*.refused") if path != own for entry in _read(path)]
        total: dict[Key, RefusedClient] = {}
        oldest = self._unix_seconds() - seconds
        for entry in [*self._entries.values(), *found]:
            if entry.time < oldest:
                continue
            key = (entry.address, entry.resource, entry.code)
            known = total.get(key)
            total[key] = _sum(known, entry) if known else entry
        return sorted(total.values(), key=lambda entry: -entry.time)[:shown_max]


def _sum(one: RefusedClient, other: RefusedClient) -> RefusedClient:
    newest = max(one, other, key=lambda entry: entry.time)
    return msgspec.structs.replace(newest, count=one.count + other.count)


def _read(path: Path) -> list[RefusedClient]:
    try:
        return _decode(path.read_bytes())
    except (OSError, ValueError):  # absent or damaged
        return []
