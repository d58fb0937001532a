"""A separate clock for the service, which a test can set back: libfaketime replaces the system's clock."""

from collections.abc import Mapping
from pathlib import Path

SEEN_SECONDS = 1.5
"""After this time all processes use the new time: the library reads its file once a second, as reading is slow."""

LIBRARIES = "usr/lib/*/faketime/libfaketimeMT.so.1"


class Clock:
    """A clock that is `ahead_seconds` fast until it is set back. `environment` is for processes that use it."""

    def __init__(self, file: Path, ahead_seconds: float = 0.0) -> None:
        self._file = file
        self._behind_seconds = -ahead_seconds
        self.step_back(0)

    def step_back(self, seconds: float) -> None:
        """Set the clock back by `seconds`, in addition to earlier steps."""
        self._behind_seconds += seconds
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{-self._behind_seconds:+.0f}")
        draft.replace(self._file)

    @property
    def environment(self) -> Mapping[str, str]:
        found = sorted(Path("/").glob(LIBRARIES))
        assert found, f"/{LIBRARIES} is not there: Debian's package libfaketime has it"
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Otherwise a thread's wait for Python's lock ends at once, and waiting threads take all of the CPU.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }
