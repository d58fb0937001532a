"""The worker's id slot: leased in the database, remembered in the data folder.

The lease is one life's: each renewal writes a new random value beside the slot, if the last one is still there. So of
two that have copies of this folder, or of this process, one loses the slot at its next renewal, and notices.

A slot file is locked by the one process that uses it. A restart takes a remembered slot, also while the database is
away, if it is proven that the note is no copy (`ingest.files.evidence`) and its lease still runs.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_hex
from uuid import UUID, uuid4

import msgspec

from ingest.errors import StoreError
from ingest.events.ids import CLOCKS_APART_MS_MAX, LEASED_SLOTS_MAX
from ingest.files.atomic import replace_file
from ingest.files.evidence import Evidence, Machine
from ingest.files.locks import FileLock, lock
from ingest.store.base import SlotLease, Store
from ingest.tasks import in_thread

log = logging.getLogger("ingest.slots")

LEASE_SECONDS = 86_400.0
RENEW_SECONDS = 60.0
MARGIN_MS = 60_000
"""A lease must run this much longer for its slot to be used: clocks of hosts differ a little."""
LIFE_BYTES = 16


class Note(SlotLease, frozen=True):
    """A lease as remembered. The database may have `next_life` already, if a renewal's outcome is unknown."""

    next_life: str = ""
    written_ms: int = 0
    """Unix time, and since the boot."""
    written_up_ms: int = 0
    evidence: Evidence = Evidence()


class IdLease:
    """Finds and keeps a slot. Not started twice; `now_us` is Unix time in microseconds.

    `replace` writes a file durably. It runs in a thread, so a slow disk does not stop the event loop.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        now_us: Callable[[], int],
        machine: Machine | None = None,
        replace: Callable[[Path, bytes], None] = replace_file,
    ) -> None:
        self._folder = folder
        self._store = store
        self._now_us = now_us
        self._machine = machine or Machine()
        self._replace = replace
        self._next_life = ""
        self.lock: FileLock | None = None
        """Held while there is a lease."""
        self.lease: SlotLease | None = None

    @property
    def known(self) -> bool:
        """Whether this data folder ever had a slot."""
        return any(self._folder.glob("slot-*.lock"))

    @property
    def is_over(self) -> bool:
        """Whether another node may have the slot by now."""
        return self.lease is not None and self.lease.until_ms < self._now_ms() + MARGIN_MS

    async def recall(self) -> SlotLease | None:
        """A remembered slot that nobody else can have. Raises `OSError`."""
        for path in sorted(self._folder.glob("slot-*.json")):
            note = _read(path)
            if note is None or not self._runs(note):
                continue
            self.lock = lock(path.with_suffix(".lock"))
            if self.lock is None:
                continue  # another worker uses it
            if await self._is_proven(path, note):
                self._next_life = note.next_life
                self.lease = _lease_of(note, self._floor_after(note))
                return self.lease
            self.lock.release()
        self.lock = None
        return None

    async def take(self) -> SlotLease:
        """Lease a slot for this life. Raises `StoreError` while there is none to be had, and `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lease = await self._store.lease_slot(await self._node(), token_hex(LIFE_BYTES), LEASE_SECONDS)
        try:
            self.lock = lock(self._file(lease.slot).with_suffix(".lock"))
        finally:
            if self.lock is None:
                await self._store.release_slot(lease, 0.0)
        if self.lock is None:
            raise StoreError(f"Slot {lease.slot} was leased, but another process has its file locked.")
        self.lease = lease
        self._next_life = ""
        await self._write(lease)
        return lease

    async def renew(self, last_ms: int) -> bool:
        """Extend the lease and record the newest id time; False if another life has the slot now."""
        held = self._held(last_ms)
        if not self._next_life:
            self._next_life = token_hex(LIFE_BYTES)
            await self._write(held)  # before the database has it
        renewed = await self._store.renew_slot(held, self._next_life, LEASE_SECONDS)
        if renewed is None:
            await self.give_up()
            return False
        self.lease = renewed
        self._next_life = ""
        await self._write(renewed)
        return True

    async def give_up(self) -> None:
        """Another life has the slot, or its ids: forget it, and this folder's name with it."""
        if self.lease is not None:
            self._file(self.lease.slot).unlink(missing_ok=True)  # or it would be remembered, and lost, for ever
        await self._rename_node()
        self.let_go()

    def let_go(self) -> None:
        """Let another worker of this data folder have the slot."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None
        self.lease = None
        self._next_life = ""

    async def release(self, last_ms: int, keep_seconds: float) -> None:
        """End the lease, in so many seconds; no id up to `last_ms` is made again. Raises `StoreError` and `OSError`."""
        held = self._held(last_ms)
        await self._write(held)
        await self._store.release_slot(held, keep_seconds)
        await self._write(msgspec.structs.replace(held, until_ms=self._now_ms() + int(keep_seconds * 1000)))

    def _held(self, last_ms: int) -> SlotLease:
        assert self.lease is not None, "a slot comes first"  # noqa: S101 - a programming error
        return msgspec.structs.replace(self.lease, last_issued_ms=max(last_ms, self.lease.last_issued_ms))

    def _runs(self, note: Note) -> bool:
        """Whether its lease does. A floor or an end too far ahead was noted by a clock that has gone back since."""
        now_ms = self._now_ms()
        return (
            0 <= note.slot < LEASED_SLOTS_MAX
            and now_ms + MARGIN_MS <= note.until_ms <= now_ms + LEASE_SECONDS * 1000 + MARGIN_MS
            and note.last_issued_ms <= now_ms + CLOCKS_APART_MS_MAX
        )

    async def _is_proven(self, path: Path, note: Note) -> bool:
        """Else the note is removed: a new slot costs nothing."""
        assert self.lock is not None, "the slot's file is locked"  # noqa: S101 - a programming error
        here = self._machine.evidence(self.lock.descriptor)
        if here.proves(note.evidence):
            return True
        log.warning(
            "a remembered id slot is not used: the data folder may be a copy",
            extra={"slot": note.slot, "found": _told(here), "noted": _told(note.evidence)},
        )
        await in_thread(partial(path.unlink, missing_ok=True))
        if here.is_copy_of(note.evidence):
            await self._rename_node()
        return False

    def _floor_after(self, note: Note) -> int:
        """An owner that was killed made ids after its last note, up to now; the clock may have gone back since."""
        went_on_ms = note.written_ms + self._machine.up_ms() - note.written_up_ms
        return max(note.last_issued_ms, min(went_on_ms, self._now_ms() + CLOCKS_APART_MS_MAX))

    async def _node(self) -> str:
        """The data folder's own name, made once."""
        try:
            return str(UUID(self._node_path.read_text()))
        except FileNotFoundError:
            pass
        except ValueError:  # also of what is no UTF-8
            log.warning(
                "the data folder's node id was damaged; it gets a new one", extra={"path": str(self._node_path)}
            )
        return await self._rename_node()

    async def _rename_node(self) -> str:
        name = str(uuid4())
        await in_thread(partial(self._replace, self._node_path, name.encode()))
        return name

    @property
    def _node_path(self) -> Path:
        return self._folder / "node-id"

    def _file(self, slot: int) -> Path:
        return self._folder / f"slot-{slot:04}.json"

    async def _write(self, lease: SlotLease) -> None:
        assert self.lock is not None, "the slot's file is locked"  # noqa: S101 - a programming error
        note = Note(
            **msgspec.structs.asdict(_lease_of(lease, lease.last_issued_ms)),
            next_life=self._next_life,
            written_ms=self._now_ms(),
            written_up_ms=self._machine.up_ms(),
            evidence=self._machine.evidence(self.lock.descriptor),
        )
        try:
            await in_thread(partial(self._replace, self._file(lease.slot), msgspec.json.encode(note)))
        except OSError as exc:  # the disk is full, perhaps: events need the slot, but not the note
            log.warning("the id slot cannot be remembered", extra={"slot": lease.slot, "reason": str(exc)})

    def _now_ms(self) -> int:
        return self._now_us() // 1000


def _lease_of(lease: SlotLease, last_issued_ms: int) -> SlotLease:
    return SlotLease(lease.slot, lease.node, lease.until_ms, last_issued_ms, lease.life)


def _told(evidence: Evidence) -> str:
    return f"inode {evidence.device}:{evidence.inode}, boot {evidence.boot or 'unknown'}"


def _read(path: Path) -> Note | None:
    """None if it is damaged, or no file: a new slot costs nothing."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Note) if path.is_file() else None
    except (ValueError, OSError):  # msgspec's errors are such, and those of wrong UTF-8
        return None
