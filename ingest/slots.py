"""The worker's id slot: leased in the database, remembered in the data folder.

A slot file is locked by the one process that uses it. A restart while the database is away takes a
remembered slot whose lease still runs; otherwise the worker waits until it can lease one.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import msgspec

from ingest.atomic_file import replace_file
from ingest.errors import StoreError
from ingest.seats import FileLock, lock
from ingest.store.base import SlotLease, Store

LEASE_SECONDS = 86_400.0
RENEW_SECONDS = 60.0
MARGIN_MS = 60_000
"""A remembered lease must run this much longer to be used: clocks of hosts differ a little."""
RESERVE_MS = 3_600_000
"""A remembered floor further ahead of the clock than this was noted with a wrong clock."""


class SlotKeeper:
    """Finds and keeps a slot. Not started twice; `now_us` is Unix time in microseconds."""

    def __init__(self, folder: Path, store: Store, now_us: Callable[[], int]) -> None:
        self._folder = folder
        self._store = store
        self._now_us = now_us
        self.lock: FileLock | None = None
        self.lease: SlotLease | None = None

    async def acquire(self) -> SlotLease:
        """A remembered slot, else one leased now. Raises `StoreError` while there is none to be had."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lease = self._remembered() or await self._leased()
        self.lease = lease
        return lease

    async def renew(self, last_ms: int) -> bool:
        """Extend the lease and record the newest id time; False if the slot belongs to another node now."""
        assert self.lease is not None, "acquire comes first"  # noqa: S101 - a programming error
        held = msgspec.structs.replace(self.lease, floor_ms=max(last_ms, self.lease.floor_ms))
        self._write(held)
        renewed = await self._store.renew_slot(held, LEASE_SECONDS)
        if renewed is None:
            self._file(held.slot).unlink(missing_ok=True)  # or it would be remembered, and lost, for ever
            self.release()
            return False
        self._write(renewed)
        self.lease = renewed
        return True

    def release(self) -> None:
        """Let another worker of this data folder have the slot."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None
        self.lease = None

    def record(self, last_ms: int) -> None:
        """Remember the newest id time, at a clean stop."""
        if self.lease is not None:
            self._write(msgspec.structs.replace(self.lease, floor_ms=max(last_ms, self.lease.floor_ms)))

    def _remembered(self) -> SlotLease | None:
        now_ms = self._now_us() // 1000
        for path in sorted(self._folder.glob("slot-*.json")):
            lease = _read(path)
            if lease is None or lease.until_ms < now_ms + MARGIN_MS or lease.node != self._node():
                continue
            taken = lock(path.with_suffix(".lock"))
            if taken is not None:
                self.lock = taken
                # An owner that was killed made ids after its last note here. They are made again only if the
                # clock has gone back since, and then the table's key refuses them.
                return msgspec.structs.replace(lease, floor_ms=min(lease.floor_ms, now_ms + RESERVE_MS))
        return None

    async def _leased(self) -> SlotLease:
        lease = await self._store.lease_slot(self._node(), LEASE_SECONDS)
        taken = lock(self._file(lease.slot).with_suffix(".lock"))
        if taken is None:
            raise StoreError(f"Slot {lease.slot} was leased, but another process has its file locked.")
        self.lock = taken
        self._write(lease)
        return lease

    def _node(self) -> str:
        """The data folder's own name, made once."""
        path = self._folder / "node-id"
        if not path.exists():
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(str(uuid4()))
            with suppress(FileExistsError):  # another worker was faster: its name counts
                os.link(draft, path)
            draft.unlink()
        return path.read_text()

    def _file(self, slot: int) -> Path:
        return self._folder / f"slot-{slot:04}.json"

    def _write(self, lease: SlotLease) -> None:
        replace_file(self._file(lease.slot), msgspec.json.encode(lease))


def _read(path: Path) -> SlotLease | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SlotLease)
    except (msgspec.MsgspecError, OSError):
        return None  # damaged: a new slot costs nothing
