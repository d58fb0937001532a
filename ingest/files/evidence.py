"""Tells an original file of the data folder from a copy: same machine, same boot, same file.

A copy has the same path and content. But a copied file has another inode, a copied disk another device, and a machine
that started from an image another boot id. If all three are equal, the file is no copy.
"""

import os
import time
from pathlib import Path

import msgspec

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN = ""
"""The boot id where the system has none, as on systems other than Linux. It proves nothing."""


class Evidence(msgspec.Struct, frozen=True):
    """The boot, device and inode at the time when a file was written."""

    boot: str = UNKNOWN
    device: int = 0
    inode: int = 0

    def proves(self, earlier: "Evidence") -> bool:
        """True if `earlier` comes from the same boot and the same file."""
        return self.boot != UNKNOWN and self == earlier

    def is_copy_of(self, earlier: "Evidence") -> bool:
        """True if this is another file than that of `earlier`."""
        return (self.device, self.inode) != (earlier.device, earlier.inode)


class Machine:
    """Facts of the operating system about this boot."""

    def evidence(self, descriptor: int) -> Evidence:
        """Return the evidence of an open file. Raises `OSError`."""
        found = os.fstat(descriptor)
        return Evidence(self.boot(), found.st_dev, found.st_ino)

    def boot(self) -> str:
        try:
            return BOOT_ID.read_text().strip()
        except (OSError, ValueError):
            return UNKNOWN

    def up_ms(self) -> int:
        """Return milliseconds since the boot, sleep included. Setting the clock does not change them."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
