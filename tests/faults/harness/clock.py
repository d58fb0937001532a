"""A clock of the service's own, which a test sets back: libfaketime between the service and the system."""

from collections.abc import Mapping
from pathlib import Path

SEEN_SECONDS = 1.5
"""After this, all have seen that the clock was set: the library looks once a second, as each look is slow."""

LIBRARIES = "usr/lib/*/faketime/libfaketimeMT.so.1"


class Clock:
    """Shows the time, `ahead_seconds` from it, until it is set back; `environment` is for those who live by it."""

    def __init__(self, file: Path, ahead_seconds: float = 0.0) -> None:
        self._file = file
        self._behind_seconds = -ahead_seconds
        self.step_back(0)

    def step_back(self, seconds: float) -> None:
        """Further back than it is."""
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
        }
