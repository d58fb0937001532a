"""One exposition a second for all workers of a service, however many requests ask for it.

Anybody may ask for `/metrics`, and each exposition takes milliseconds of the CPU. The workers share a file, because a
scrape of one worker must not show less than an earlier scrape of another one.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ingest.clock import Monotonic
from ingest.files.atomic import replace_volatile

log = logging.getLogger("ingest.metrics")

KEEP_SECONDS = 1.0
"""The largest age of an exposition."""
WAIT_SECONDS_MAX = 1.0
"""Time to wait for another worker's exposition. A worker that stands still must not block the others."""
POLL_SECONDS = 0.01
MODE = 0o600


class SharedExposition:
    """`read` blocks, so a thread calls it. One thread of a worker at a time may call it."""

    def __init__(
        self,
        path: Path,
        make: Callable[[], bytes],
        unix_seconds: Callable[[], float] = time.time,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._path = path
        self._make = make
        self._unix_seconds = unix_seconds
        self._monotonic = monotonic
        self._own: tuple[float, bytes] | None = None
        """When this worker made an exposition that it could not share, and the exposition."""

    def read(self) -> bytes:
        """Return the shared exposition, or make the next one."""
        if (content := self._recent()) is not None:
            return content
        with self._turn():
            if (content := self._recent()) is not None:
                return content
            content = self._make()
            self._share(content)
        return content

    def _recent(self) -> bytes | None:
        if self._own and self._monotonic() < self._own[0] + KEEP_SECONDS:
            return self._own[1]
        with suppress(OSError), self._path.open("rb") as file:
            age = self._unix_seconds() - os.fstat(file.fileno()).st_mtime
            if abs(age) < KEEP_SECONDS:  # a time in the future comes from a step of the clock
                return file.read()
        return None

    def _share(self, content: bytes) -> None:
        self._own = None
        try:
            replace_volatile(self._path, content)
        except OSError as exc:  # such as a full disk
            log.debug("this worker cannot share its metrics", extra={"reason": str(exc)})
            self._own = self._monotonic(), content

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the lock, which ends with its process."""
        try:
            descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError:
            yield
            return
        try:
            give_up_at = self._monotonic() + WAIT_SECONDS_MAX
            while not _is_mine(descriptor) and self._monotonic() < give_up_at:
                time.sleep(POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _is_mine(descriptor: int) -> bool:
    """Take the lock if it is free. A file system without locks gives each worker its turn at once."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
