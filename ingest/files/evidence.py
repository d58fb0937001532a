"""Whether a note in the data folder was written here: by this running machine, into this very file.

A path, a name and a content are the same in a copy. A copied file is another inode, a copied disk another device, and a
machine that was started from an image has another boot id. All three being equal, the note is no copy.
"""

import os
import time
from pathlib import Path

import msgspec

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN = ""
"""The boot of a machine that tells none, as others than Linux: it proves nothing."""


class Evidence(msgspec.Struct, frozen=True):
    """Of the place and the boot at which a note was written."""

    boot: str = UNKNOWN
    device: int = 0
    inode: int = 0

    def proves(self, earlier: "Evidence") -> bool:
        """Whether `earlier` was gathered since this boot, from the same file."""
        return self.boot != UNKNOWN and self == earlier

    def is_copy_of(self, earlier: "Evidence") -> bool:
        """Whether the file is another one than that of `earlier`."""
        return (self.device, self.inode) != (earlier.device, earlier.inode)


class Machine:
    """What the operating system tells of this boot."""

    def evidence(self, descriptor: int) -> Evidence:
        """Of an open file. Raises `OSError`."""
        found = os.fstat(descriptor)
        return Evidence(self.boot(), found.st_dev, found.st_ino)

    def boot(self) -> str:
        try:
            return BOOT_ID.read_text().strip()
        except (OSError, ValueError):
            return UNKNOWN

    def up_ms(self) -> int:
        """Milliseconds since the boot, those of sleep included; no clock setting changes them."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
