"""A stream: chunks of messages in order, and the newest publishing id of each producer's name."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from rstream.encoding import encode_frame
from rstream.schema import Deliver

NAMES_MAX = 255
"""RabbitMQ keeps the newest publishing ids of this many names when it writes a snapshot of them."""
MAGIC_VERSION = 0x50


class Entry(NamedTuple):
    """A message, with the producer's name ("" has none) and the publishing id."""

    name: str
    publishing_id: int
    data: bytes


class Chunk:
    """Messages that were written together. They are safe once they are confirmed."""

    __slots__ = ("entries", "first_offset", "is_safe", "timestamp_ms")

    def __init__(self, first_offset: int, timestamp_ms: int, entries: Sequence[Entry]) -> None:
        self.first_offset = first_offset
        self.timestamp_ms = timestamp_ms
        self.entries = list(entries)
        self.is_safe = False

    def deliver(self, subscription: int) -> bytes:
        """The frame that delivers it."""
        data = b"".join(len(one.data).to_bytes(4) + one.data for one in self.entries)
        count = len(self.entries)
        times = self.timestamp_ms, 1, self.first_offset
        frame = Deliver(subscription, MAGIC_VERSION, 0, count, count, *times, zlib.crc32(data), len(data), 0, 0, data)
        return encode_frame(frame)


class Stream:
    def __init__(self, name: str, arguments: dict[str, str]) -> None:
        self.name = name
        self.arguments = arguments
        self.chunks: list[Chunk] = []
        self.sequences: dict[str, int] = {}
        """Name → newest publishing id, the name that wrote last at the end."""

    @property
    def next_offset(self) -> int:
        return self.chunks[-1].first_offset + len(self.chunks[-1].entries) if self.chunks else 0

    @property
    def entries(self) -> list[Entry]:
        return [entry for chunk in self.chunks for entry in chunk.entries]

    def entries_from(self, offset: int) -> list[Entry]:
        """Those from this offset on."""
        found: list[Entry] = []
        for chunk in reversed(self.chunks):
            if chunk.first_offset + len(chunk.entries) <= offset:
                break
            found[:0] = chunk.entries[max(0, offset - chunk.first_offset) :]
        return found

    def append(self, name: str, messages: Sequence[tuple[int, bytes]], timestamp_ms: int) -> Chunk | None:
        """Write what is new of these messages. A publishing id that is not above the newest one is discarded."""
        new = []
        for publishing_id, data in messages:
            if name:
                if publishing_id <= self.sequences.get(name, -1):
                    continue
                self.sequences.pop(name, None)
                self.sequences[name] = publishing_id
            new.append(Entry(name, publishing_id, data))
        if not new:
            return None
        chunk = Chunk(self.next_offset, timestamp_ms, new)
        self.chunks.append(chunk)
        return chunk

    def forget_names(self) -> None:
        """Write a snapshot, as for each new segment and after a restart: only the newest names are kept."""
        while len(self.sequences) > NAMES_MAX:
            del self.sequences[next(iter(self.sequences))]

    def lose_tail(self, keeps: int) -> None:
        """Lose the chunks after the last safe one, but for `keeps` of them. The sequences are those of the log then."""
        safe = max((at + 1 for at, chunk in enumerate(self.chunks) if chunk.is_safe), default=0)
        del self.chunks[safe + keeps :]
        for chunk in self.chunks:
            chunk.is_safe = True
        self.sequences.clear()
        for entry in self.entries:
            if entry.name:
                self.sequences.pop(entry.name, None)
                self.sequences[entry.name] = entry.publishing_id
        self.forget_names()

    def unsafe_chunks(self) -> int:
        return sum(not chunk.is_safe for chunk in self.chunks)

    def at_offset(self, offset: int) -> int:
        """The place of the chunk with this offset, or of the end."""
        ends = (chunk.first_offset + len(chunk.entries) for chunk in self.chunks)
        return next((at for at, end in enumerate(ends) if end > offset), len(self.chunks))

    def at_time(self, timestamp_ms: int) -> int:
        """The place of the first chunk from this time on, or of the end."""
        times = (chunk.timestamp_ms for chunk in self.chunks)
        return next((at for at, time in enumerate(times) if time >= timestamp_ms), len(self.chunks))
