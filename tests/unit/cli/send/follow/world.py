"""A writer of a log, its rotation, outages of the service and kills of the follower, at random."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from ingest.cli.send.follow.follower import Follower
from ingest.cli.send.follow.state_file import StateFile
from ingest.files.atomic import replace_volatile
from tests.unit.cli.send.fakes import FakeService, FakeTime, Killed

LINES_MAX = 30
BATCH = 7
STEPS = 100
QUIET_STEPS = 150
"""Steps in which rotated files become quiet."""
REST_STEPS_MAX = 5000
"""Steps until everything must be sent, after the last disturbance."""


class World:
    """`live` runs a history; afterwards `lines` are the lines written."""

    def __init__(self, folder: Path, seed: int, kind: str) -> None:
        self.file = folder / "calls.ndjson"
        self.service = FakeService()
        self.lines: list[bytes] = []
        self.said: list[str] = []
        self._random = Random(seed)
        self._kind = kind
        self._written = self.file.open("ab", buffering=0)
        self._half = b""
        self._steps = STEPS

    def live(self) -> None:
        """Kill and restart the follower until the history is over, then let it finish."""
        time = FakeTime(self._act)
        self.service.before = self.service.after = self._perhaps
        try:
            while self._steps > 0:
                self._follow(time)
                for _ in range(self._random.randrange(4)):
                    self._disturb()
            self._finish()
        finally:
            self._written.close()

    def _follow(self, time: FakeTime) -> None:
        try:
            state_file = StateFile(self.file, replace_volatile)
            follower = Follower(state_file, self.service, BATCH, None, time, self.said.append, time.monotonic)
            follower.run()
        except Killed:
            return

    def _act(self) -> None:
        """Run in each pause of the follower."""
        self._steps -= 1
        if self._steps <= 0 or not self._random.randrange(12):
            raise Killed
        self._disturb()

    def _perhaps(self) -> None:
        """Run during a request."""
        if self._random.randrange(3):
            return
        if not self._random.randrange(4):
            raise Killed
        self._disturb()

    def _disturb(self) -> None:
        actions: list[Callable[[], None]] = [self._append, self._append, self._append_half, self._rotate, self._turn]
        self._random.choice(actions)()

    def _append(self) -> None:
        self._end_half()
        for _ in range(self._random.randrange(1, LINES_MAX)):
            self._written.write(self._line())

    def _append_half(self) -> None:
        self._end_half()
        line = self._line()
        self._half = line[10:]
        self._written.write(line[:10])

    def _line(self) -> bytes:
        number = len(self.lines)
        line = b'{"number":%d,"padding":"%s"}' % (number, b"x" * self._random.choice((0, 10, 500)))
        self.lines.append(line)
        return line + b"\n"

    def _end_half(self) -> None:
        if self._half:
            self._written.write(self._half)
            self._half = b""

    def _turn(self) -> None:
        self.service.is_away = not self.service.is_away

    def _rotate(self) -> None:
        if self._kind == "mixed":
            self._random.choice((self._rename, self._truncate))()
        elif self._kind == "renamed":
            self._rename()
        else:
            self._truncate()

    def _rename(self) -> None:
        """The writer writes into the renamed file until it opens the new one, which may be soon or later."""
        self._reopen()
        self._shift()
        self.file.rename(self._name(1))
        if self._random.randrange(2):
            self.file.touch()
        if self._random.randrange(2):
            self._reopen()

    def _reopen(self) -> None:
        self._end_half()
        self._written.close()
        self._written = self.file.open("ab", buffering=0)

    def _truncate(self) -> None:
        """As logrotate's copytruncate, without the loss of lines that are written between copy and truncation."""
        self._reopen()
        self._shift()
        shutil.copyfile(self.file, self._name(1))
        os.truncate(self.file, 0)

    def _shift(self) -> None:
        numbers = sorted((int(one.suffix[1:]) for one in self.file.parent.glob("*.ndjson.[0-9]*")), reverse=True)
        for number in numbers:
            self._name(number).rename(self._name(number + 1))

    def _name(self, number: int) -> Path:
        return self.file.with_name(f"{self.file.name}.{number}")

    def _finish(self) -> None:
        self._reopen()
        self.service.is_away = False
        self.service.before = self.service.after = lambda: None
        steps = 0

        def stop_when_done() -> None:
            nonlocal steps
            steps += 1
            time.is_stopped = steps > REST_STEPS_MAX or (
                len(self.service.stored) >= len(self.lines) and steps > QUIET_STEPS
            )

        time = FakeTime(stop_when_done)
        self._follow(time)
