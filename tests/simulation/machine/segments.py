"""The segments of spools on simulated disks: which events are synced, and which a power cut may take away."""

import fcntl
import os
from collections.abc import Iterator
from struct import Struct

import msgspec

from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from tests.simulation.chance import Chance
from tests.simulation.machine.nodes import Node

HEAD_BYTES = 32
OWN_DESCRIPTORS_MIN = 512
"""Descriptors of the world are not those of workers, whose file objects close theirs unseen."""
_ENTRY = Struct("<8sBqIIII")
WAITING, PUBLISHED, ASIDE = 1, 2, 5
KEYED = 0x80

Inode = tuple[int, int]
PWRITE, FTRUNCATE = os.pwrite, os.ftruncate


class Write(msgspec.Struct):
    """A write that is not on the disk yet, and what was there before."""

    offset: int
    size: int
    before: bytes
    end_before: int


class SegmentFile(msgspec.Struct):
    node: Node
    path: str
    descriptor: int
    """The simulation has its own, so that it can read the file after its process has died."""
    begun: bool = False
    unsynced: list[Write] = []
    payloads: dict[int, set[bytes]] = {}
    """Offset of an entry → payloads of its events, on the disk."""
    lied_about: dict[int, set[bytes]] = {}
    """Those of them that a power cut may still take away."""
    waiting: dict[int, set[bytes]] = {}
    """The same for entries that are not synced."""


class SegmentFiles:
    """All segments of the world, by inode."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._files: dict[Inode, SegmentFile] = {}
        self.lost: list[SegmentFile] = []
        """Files whose last name was removed. The world looks at them after each step."""
        self.excused: set[bytes] = set()
        """Payloads that a disk has lost after it had promised to keep them."""

    def opened(self, node: Node, inode: Inode, path: str, descriptor: int) -> None:
        if inode in self._files:
            return
        own = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, OWN_DESCRIPTORS_MIN)
        self._files[inode] = file = SegmentFile(node, path, own)
        size = os.fstat(own).st_size
        if size > HEAD_BYTES:  # a copied file
            file.payloads.update(entries_in(os.pread(own, size - HEAD_BYTES, HEAD_BYTES), HEAD_BYTES))

    def written(self, inode: Inode, descriptor: int, content: bytes, offset: int) -> None:
        file = self._files.get(inode)
        if file is None or not content:
            return
        end = os.fstat(descriptor).st_size
        file.unsynced.append(Write(offset, len(content), os.pread(file.descriptor, len(content), offset), end))
        if offset >= HEAD_BYTES:
            file.waiting.update(entries_in(content, offset))

    def synced(self, inode: Inode, *, lies: bool) -> None:
        """After a lie the process believes that its writes are on the disk."""
        if file := self._files.get(inode):
            if lies:
                file.lied_about.update(file.waiting)
            else:
                file.unsynced.clear()
                file.lied_about.clear()
            file.payloads.update(file.waiting)
            file.waiting.clear()

    def truncated(self, inode: Inode, length: int) -> None:
        if file := self._files.get(inode):
            for held in (file.payloads, file.lied_about, file.waiting):
                for offset in [one for one in held if one >= length]:
                    del held[offset]

    def unlinked(self, path: str) -> None:
        if not path.endswith(".log"):
            return
        for file in self._files.values():
            if file.path == path:
                self.lost.append(file)
                file.path = ""

    def deleted_by_others(self, path: str) -> set[bytes]:
        """Return the payloads in the file: they are lost if its process dies before it writes them anew."""
        for file in self._files.values():
            if file.path == path:
                file.path = ""
                return {payload for payloads in file.payloads.values() for payload in payloads}
        return set()

    def replaced(self, node: Node) -> None:
        """Others have put another folder in place of this node's."""
        for file in self._files.values():
            if file.node is node:
                file.path = ""

    def damage(self, node: Node) -> tuple[str, set[bytes]] | None:
        """Change a byte of a synced entry in a file of this node. Return its path, and what the entry held."""
        files = [file for file in self._files.values() if file.node is node and file.path and file.payloads]
        if not files:
            return None
        file = files[self._chance.pick("which file is damaged", len(files))]
        offsets = [*sorted({*file.payloads, *file.waiting}), os.fstat(file.descriptor).st_size]
        offset = sorted(file.payloads)[self._chance.pick("which entry is damaged", len(file.payloads))]
        _, _, _, _, size, _, _ = _ENTRY.unpack(os.pread(file.descriptor, _ENTRY.size, offset))
        left = offsets[offsets.index(offset) + 1] - offset  # an earlier damage may have changed the size in the entry
        at = offset + self._chance.pick("which byte is damaged", min(_ENTRY.size + size, left))
        (byte,) = os.pread(file.descriptor, 1, at)
        PWRITE(file.descriptor, bytes([byte ^ (1 << self._chance.pick("which bit", 8))]), at)
        return file.path, file.payloads[offset]

    def renamed(self, source: str, target: str) -> None:
        if source.endswith(".log"):
            for file in self._files.values():
                if file.path == source:
                    file.path = target

    def payloads_on(self, node: Node | None = None) -> set[bytes]:
        """The payloads of all events on the disk of a node, or of all nodes."""
        files = (file for file in self._files.values() if file.path and (node is None or file.node is node))
        return {payload for file in files for payloads in file.payloads.values() for payload in payloads}

    def set_aside(self, node: Node | None = None) -> dict[int, bytes]:
        """Id → payload, of the events that are set aside on the disk of a node, or of all nodes.

        Two workers may have accepted the same event with a key, and the database may have refused it to both.
        """
        found: dict[int, bytes] = {}
        for file in self._files.values():
            if file.path and (node is None or file.node is node):
                content = os.pread(file.descriptor, os.fstat(file.descriptor).st_size, HEAD_BYTES)
                for _, kind, batch in _batches_in(content):
                    if kind == ASIDE:
                        payloads = (bytes(event.payload) for event in batch.events)
                        found.update(zip(batch.ids, payloads, strict=True))
        return found

    def holds(self, node: Node, payload: bytes) -> bool:
        return any(
            payload in payloads
            for file in self._files.values()
            if file.path and file.node is node
            for payloads in file.payloads.values()
        )

    def cut_power(self, node: Node) -> None:
        """Lose or tear what is not synced. The newest writes go first, so that older contents come back."""
        for file in self._files.values():
            if file.node is not node or not file.path:
                continue
            for write in reversed(file.unsynced):
                kept = (0, write.size, self._chance.pick("torn write keeps", write.size + 1))[
                    self._chance.pick("power cut leaves", 3)
                ]
                if kept < write.size:
                    PWRITE(file.descriptor, write.before[kept:], write.offset + kept)
                    if write.offset + write.size > write.end_before and len(write.before) < write.size:
                        FTRUNCATE(file.descriptor, max(write.end_before, write.offset + kept))
            file.unsynced.clear()
            file.waiting.clear()
            for offset, payloads in file.lied_about.items():
                file.payloads.pop(offset, None)
                self.excused |= payloads
            file.lied_about.clear()

    def close(self) -> None:
        for file in self._files.values():
            os.close(file.descriptor)


def entries_in(content: bytes, offset: int) -> dict[int, set[bytes]]:
    """Offset → payloads, of the whole entries with events in these bytes of a segment."""
    return {offset + at: {bytes(event.payload) for event in batch.events} for at, _, batch in _batches_in(content)}


def _batches_in(content: bytes) -> Iterator[tuple[int, int, Batch]]:
    """Position, kind and batch of the whole entries with events in these bytes."""
    at = 0
    while at + _ENTRY.size <= len(content):
        _, kind, _, _, size, _, _ = _ENTRY.unpack_from(content, at)
        whole = content[at + _ENTRY.size : at + _ENTRY.size + size]
        kind &= ~KEYED
        if kind == ASIDE and len(whole) > 2:
            whole = whole[2 + int.from_bytes(whole[:2], "little") :]
        if kind in (WAITING, PUBLISHED, ASIDE) and (batch := unpack_one(whole)):
            yield at, kind, batch
        at += _ENTRY.size + size
