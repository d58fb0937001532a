"""How the follower recognizes a file again, and where it is in it.

Inodes are reused, and a copy has another one. So the content decides: the beginning, and the bytes before the offset.
"""

import os
from hashlib import sha256

import msgspec

PART_BYTES = 4096
"""The part of a file that a fingerprint covers, at its beginning and before the offset."""
DIGEST_CHARS = 32
POINTS_MAX = 32
"""Batches by which the follower can go back in a file that a crash has damaged."""


class FileMark(msgspec.Struct):
    """A file and its lines that are done. Each line counts once, so marks never share a file."""

    key: str
    """The idempotency keys of its batches begin with it."""
    device: int
    inode: int
    offset: int = 0
    """Bytes that are done."""
    line: int = 0
    """Lines that are done."""
    size: int = 0
    """The largest size seen."""
    mtime_ns: int = 0
    head_bytes: int = 0
    head: str = ""
    """Digest of the first `head_bytes` bytes."""
    tail: str = ""
    """Digest of the last bytes before the offset, at most `PART_BYTES`."""
    points: list[tuple[int, int, str]] = []
    """Earlier offsets with line and tail."""

    @property
    def unsent_bytes(self) -> int:
        """How much of the file is known not to be sent."""
        return max(0, self.size - self.offset)

    def is_of(self, found: os.stat_result) -> bool:
        return (self.device, self.inode) == (found.st_dev, found.st_ino)

    def fits(self, descriptor: int) -> bool:
        """True if the file has the content that was seen. Raises `OSError`."""
        start = max(0, self.offset - PART_BYTES)
        return self.begins(descriptor) and digest_at(descriptor, start, self.offset - start) == self.tail

    def begins(self, descriptor: int) -> bool:
        """True if the file has the beginning that was seen. Raises `OSError`."""
        return digest_at(descriptor, 0, self.head_bytes) == self.head

    def is_cut(self, descriptor: int) -> bool:
        """True if this is the same file, which has lost content at its end. A crash of the machine may do that."""
        is_same = self.head_bytes > 0 and self.is_of(os.fstat(descriptor)) and self.begins(descriptor)
        return is_same and not self.fits(descriptor)

    def cut(self, descriptor: int, key: str) -> None:
        """Go on at the new end. If the file has grown since, go back to the last point before which it is unchanged.

        Other lines need another key.
        """
        self.key = key
        size = self.size = os.fstat(descriptor).st_size
        if size < self.offset:
            start = max(0, size - PART_BYTES)
            self.advance(size, self.line, digest_of(os.pread(descriptor, size - start, start)))
            return
        while self.points and not self.fits(descriptor):
            self.offset, self.line, self.tail = self.points.pop()
        if not self.fits(descriptor):
            self.offset, self.line, self.tail = 0, 0, ""

    def learn(self, descriptor: int) -> None:
        """Note size, time and more of the beginning of a file that fits. Raises `OSError`."""
        found = os.fstat(descriptor)
        self.device, self.inode, self.mtime_ns = found.st_dev, found.st_ino, found.st_mtime_ns
        self.size = max(self.size, found.st_size)
        if self.head_bytes < min(PART_BYTES, self.size):
            self.learn_head(os.pread(descriptor, PART_BYTES, 0))

    def learn_head(self, beginning: bytes) -> None:
        """Note more of the beginning, if it continues the part that is known."""
        beginning = beginning[:PART_BYTES]
        if len(beginning) > self.head_bytes and digest_of(beginning[: self.head_bytes]) == self.head:
            self.head_bytes, self.head = len(beginning), digest_of(beginning)

    def advance(self, end: int, line: int, tail: str) -> None:
        """Note that the lines up to `end` are done."""
        self.points = [*self.points, (self.offset, self.line, self.tail)][-POINTS_MAX:]
        self.offset, self.line, self.tail = end, line, tail


def digest_of(content: bytes) -> str:
    """Return the digest; empty for no content."""
    return sha256(content).hexdigest()[:DIGEST_CHARS] if content else ""


def digest_at(descriptor: int, start: int, size: int) -> str | None:
    """Return the digest of a part of a file, or None if the file ends before. Raises `OSError`."""
    content = os.pread(descriptor, size, start)
    return digest_of(content) if len(content) == size else None


def is_copy(descriptor: int, original: int) -> bool:
    """True if the file begins with the whole content of the other one, as far as the fingerprints tell."""
    size = os.fstat(original).st_size
    head_bytes, start = min(size, PART_BYTES), max(0, size - PART_BYTES)
    return size > 0 and all(
        digest_at(descriptor, at, length) == digest_at(original, at, length)
        for at, length in ((0, head_bytes), (start, size - start))
    )
