"""A file that the follower reads: its mark, and its open descriptor."""

import os

from ingest.cli.send.event_file import LINE_BYTES_MAX
from ingest.cli.send.follow.batch import SHOWN_BYTES_MAX, TOO_LONG, Batch, RefusedLine, cut
from ingest.cli.send.follow.mark import PART_BYTES, FileMark, digest_of

READ_BYTES = 512 << 10
"""Maximum size of a request, except for a longer line. Proxies often refuse requests above 1 MiB."""


class FollowedFile:
    """An open file may be renamed or deleted; the descriptor still reads it. A missing file has no descriptor."""

    def __init__(self, mark: FileMark, descriptor: int | None, now: float) -> None:
        self.mark = mark
        self.descriptor = descriptor
        self.changed_at = now
        """The monotonic time at which it was last seen to change. A missing one has not been seen since."""
        self._seen = (-1, -1)
        """Its size and time at the last check."""

    @property
    def is_missing(self) -> bool:
        return self.descriptor is None

    @property
    def is_finished(self) -> bool:
        return self.descriptor is not None and self.mark.offset >= os.fstat(self.descriptor).st_size

    def attach(self, descriptor: int, now: float) -> None:
        """Go on with this file, which fits the mark."""
        self.detach(now)
        self.descriptor, self.changed_at, self._seen = descriptor, now, (-1, -1)
        self.mark.learn(descriptor)

    def detach(self, now: float) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor, self.changed_at = None, now

    def is_intact(self, now: float) -> bool:
        """Return False if the content that was seen is gone: the file was truncated. A missing file is intact."""
        if self.descriptor is None:
            return True
        found = os.fstat(self.descriptor)
        if (found.st_size, found.st_mtime_ns) != self._seen:
            if not self.mark.fits(self.descriptor):
                return False
            self.mark.learn(self.descriptor)
            self.changed_at = now
            self._seen = (found.st_size, found.st_mtime_ns)
        return True

    def read(self, lines_max: int, *, whole: bool) -> Batch | None:
        """Return the next lines, or None if there is no complete one. With `whole`, the end of the file ends a line.

        One read returns the bytes before the offset too. If they are others, the file was truncated, and the next check
        finds that.
        """
        if self.descriptor is None:
            return None
        mark = self.mark
        start = max(0, mark.offset - PART_BYTES)
        before = mark.offset - start
        for size in (READ_BYTES, LINE_BYTES_MAX + 1):
            content = os.pread(self.descriptor, before + size, start)
            if not start:
                mark.learn_head(content)
            if digest_of(content[:before]) != mark.tail or not mark.begins(self.descriptor):
                return None
            is_all = len(content) < before + size
            batch = cut(content, before, mark.offset, mark.line, lines_max, whole=whole and is_all)
            if batch or is_all:
                return batch
            if not content[before:].strip(b"\0"):  # a hole
                return Batch(mark.offset, start + len(content), mark.line, digest_of(content[-PART_BYTES:]))
        return self._long_line(self.descriptor, content[before : before + SHOWN_BYTES_MAX], whole=whole)

    def _long_line(self, descriptor: int, shown: bytes, *, whole: bool) -> Batch | None:
        """Return a line that is too long, without its event."""
        mark, end = self.mark, self.mark.offset + LINE_BYTES_MAX
        while part := os.pread(descriptor, READ_BYTES, end):
            length = part.find(b"\n") + 1
            end += length or len(part)
            if length:
                break
        else:
            if not whole:
                return None
        tail = digest_of(os.pread(descriptor, PART_BYTES, end - PART_BYTES))
        refused = RefusedLine(mark.line + 1, shown, {"event": [TOO_LONG]})
        return Batch(mark.offset, end, mark.line + 1, tail, refused=[refused])
