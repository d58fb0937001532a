"""The worker's id slot: leased in the database, remembered in the data folder.

Each renewal replaces a random value beside the slot, if the last value is still there. If two processes have copies of
this folder, or of this process, one of them loses the slot at its next renewal, and notices.

The process that uses a slot locks its file. A restart takes a remembered slot even while the database is away. Its
lease must still run, and evidence must show that the note is no copy (`ingest.files.evidence`).
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
"""A slot is used only if its lease runs this much longer: clocks of hosts differ a little."""
LIFE_BYTES = 16


class Note(SlotLease, frozen=True):
    """A remembered lease. The database may have `next_life` already, if the outcome of a renewal is unknown."""

    next_life: str = ""
    written_ms: int = 0
    """Unix time. `written_up_ms` is the time since the boot."""
    written_up_ms: int = 0
    evidence: Evidence = Evidence()


class IdLease:
    """Finds and keeps a slot. `now_us` is Unix time in microseconds.

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
        """This data folder had a slot at some time."""
        return any(self._folder.glob("slot-*.lock"))

    @property
    def is_over(self) -> bool:
        """The lease ends soon or has ended, so another node may have the slot."""
        return self.lease is not None and self.lease.until_ms < self._now_ms() + MARGIN_MS

    async def recall(self) -> SlotLease | None:
        """Take a remembered slot that no other process can have. Raises `OSError`."""
        for path in sorted(self._folder.glob("slot-*.json")):
            note = _read(path)
            if note is None or not self._runs(note):
                continue
            self.lock = lock(path.with_suffix(".lock"))
            if self.lock is None:
                continue  # another worker uses it
            if await self._is_proven(path, note):
                self._next_life = note.next_life
                self.lease = _lease_of(note, self._last_issued_after(note))
                return self.lease
            self.lock.release()
        self.lock = None
        return None

    async def take(self) -> SlotLease:
        """Lease a slot. Raises `StoreError` if no slot is free or the database is away, and `OSError`."""
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
        """Extend the lease and record the time of the newest id.

        Return False if another process has the slot now. The caller makes no more ids of it, and then gives it up.
        """
        held = self._held(last_ms)
        if not self._next_life:
            self._next_life = token_hex(LIFE_BYTES)
            await self._write(held)  # before the database has it
        renewed = await self._store.renew_slot(held, self._next_life, LEASE_SECONDS)
        if renewed is None:
            return False
        self.lease = renewed
        self._next_life = ""
        await self._write(renewed)
        return True

    async def give_up(self) -> None:
        """Forget the slot and this folder's name: another process has the slot, or other events have its ids.

        Never fails. If the disk does, a restart may take the slot, and loses it again.
        """
        try:
            if self.lease is not None:
                self._file(self.lease.slot).unlink(missing_ok=True)
            await self._rename_node()
        except OSError as exc:
            log.warning("the lost id slot cannot be forgotten in the data folder", extra={"reason": str(exc)})
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Unlock the slot for other workers of this data folder."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None
        self.lease = None
        self._next_life = ""

    async def release(self, last_ms: int, keep_seconds: float) -> None:
        """End the lease in `keep_seconds`. No id up to `last_ms` is made again. Raises `StoreError` and `OSError`."""
        held = self._held(last_ms)
        await self._write(held)
        await self._store.release_slot(held, keep_seconds)
        await self._write(msgspec.structs.replace(held, until_ms=self._now_ms() + int(keep_seconds * 1000)))

    def _held(self, last_ms: int) -> SlotLease:
        assert self.lease is not None, "a slot comes first"  # noqa: S101 - a programming error
        return msgspec.structs.replace(self.lease, last_issued_ms=max(last_ms, self.lease.last_issued_ms))

    def _runs(self, note: Note) -> bool:
        """The note's lease still runs. A time too far ahead was noted by a clock that has gone back since."""
        now_ms = self._now_ms()
        return (
            0 <= note.slot < LEASED_SLOTS_MAX
            and now_ms + MARGIN_MS <= note.until_ms <= now_ms + LEASE_SECONDS * 1000 + MARGIN_MS
            and note.last_issued_ms <= now_ms + CLOCKS_APART_MS_MAX
        )

    async def _is_proven(self, path: Path, note: Note) -> bool:
        """Return whether the note is no copy. A note without proof is removed: a new slot costs nothing."""
        assert self.lock is not None, "the slot's file is locked"  # noqa: S101 - a programming error
        here = self._machine.evidence(self.lock.descriptor)
        if here.proves(note.evidence):
            return True
        log.warning(
            "a remembered id slot is not used: the data folder may be a copy",
            extra={"slot": note.slot, "found": _described(here), "noted": _described(note.evidence)},
        )
        await in_thread(partial(path.unlink, missing_ok=True))
        if here.is_copy_of(note.evidence):
            await self._rename_node()
        return False

    def _last_issued_after(self, note: Note) -> int:
        """The newest id that the earlier owner can have made. A killed owner may have made ids until now.

        The time since the boot counts, too, because the clock may have gone back since the note.
        """
        went_on_ms = note.written_ms + self._machine.up_ms() - note.written_up_ms
        return max(note.last_issued_ms, min(went_on_ms, self._now_ms() + CLOCKS_APART_MS_MAX))

    async def _node(self) -> str:
        """The data folder's own name. It is made once."""
        try:
            return str(UUID(self._node_path.read_text()))
        except FileNotFoundError:
            pass
        except ValueError:  # also if the text is no UTF-8
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
        except OSError as exc:  # perhaps the disk is full; events need the slot, but not the note
            log.warning("the id slot cannot be remembered", extra={"slot": lease.slot, "reason": str(exc)})

    def _now_ms(self) -> int:
        return self._now_us() // 1000


def _lease_of(lease: SlotLease, last_issued_ms: int) -> SlotLease:
    return SlotLease(lease.slot, lease.node, lease.until_ms, last_issued_ms, lease.life)


def _described(evidence: Evidence) -> str:
    return f"inode {evidence.device}:{evidence.inode}, boot {evidence.boot or 'unknown'}"


def _read(path: Path) -> Note | None:
    """Return None if the note is damaged or no file: a new slot costs nothing."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Note) if path.is_file() else None
    except (ValueError, OSError):  # errors of msgspec and of wrong UTF-8 are ValueErrors
        return None
