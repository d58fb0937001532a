"""A log, and followers of it that run until nothing is left to do."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ingest.cli.send.follow.follower import Follower
from ingest.cli.send.follow.rotation import GAP_SECONDS, ROTATED_SECONDS, SCAN_SECONDS
from ingest.cli.send.follow.state_file import StateFile
from ingest.files.atomic import replace_volatile
from tests.unit.cli.send.fakes import FakeService, FakeTime, Killed

BATCH = 3
IDLE_SECONDS = ROTATED_SECONDS + SCAN_SECONDS + GAP_SECONDS
"""After this time a follower has noticed everything."""


class Log:
    """`calls.ndjson`, what happens to it, and its followers."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "calls.ndjson"
        self.service = FakeService()
        self.said: list[str] = []
        self.time = FakeTime()
        self.sent = 0

    def write(self, *lines: bytes) -> None:
        with self.file.open("ab") as file:
            file.write(b"".join(lines))

    def rename(self, name: str = "calls.ndjson.1") -> Path:
        return self.file.rename(self.file.with_name(name))

    def follow(self, *steps: Callable[[], None], batch: int = BATCH, seconds: float = IDLE_SECONDS) -> None:
        """Run a follower. In each pause it does one of the steps, then it waits until it has noticed everything."""
        left: Sequence[Callable[[], None]] = steps
        until = 0.0

        def step() -> None:
            nonlocal left, until
            if left:
                left[0]()
                left, until = left[1:], 0.0
            until = until or self.time.seconds + seconds
            self.time.is_stopped = self.time.seconds >= until

        self.time.step, self.time.is_stopped = step, False
        state_file = StateFile(self.file, replace_volatile)
        follower = Follower(state_file, self.service, batch, None, self.time, self.said.append, self.time.monotonic)
        try:
            follower.run()
        except Killed:
            pass
        finally:
            self.sent += follower.sent

    def rejected(self) -> str:
        path = self.file.with_name("calls.ndjson.rejected")
        return path.read_text() if path.exists() else ""


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def lines(*numbers: int) -> list[bytes]:
    return [b'{"number":%d}\n' % number for number in numbers]


def events(*numbers: int) -> list[bytes]:
    return [b'{"number":%d}' % number for number in numbers]
