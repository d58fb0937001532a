"""`ingest send --follow` with the real service: rotations under load, kills of the follower, and outages."""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from threading import Event, Thread

import pytest

from tests.commands.forked import Process, run_ingest, start_ingest
from tests.faults.reading import embedded_messages, rows_of
from tests.running import EVENT, TOKEN, ServiceProcess
from tests.services import wait_until

KILLS = 3
"""The service is away during one of them. tests/unit/cli/send/follow has many more kills, in random histories."""
LINES_MAX = 40
WAIT_SECONDS = 60


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    folder = tmp_path / "service"
    folder.mkdir()
    with ServiceProcess(folder) as running:
        yield running


class FollowerProcess:
    """`ingest send --follow` as users run it."""

    def __init__(self, file: Path, port: int) -> None:
        self._words = ["send", str(file), "--follow", "--batch", "50", "--url", f"http://127.0.0.1:{port}"]
        self._log = file.with_name("follower.log")
        self._process: Process | None = None

    def start(self) -> None:
        with self._log.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            environment = {**os.environ, "CALL_EVENTS_TOKEN": TOKEN}
            self._process = start_ingest(self._words, environment, [nothing, log, log])

    def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(WAIT_SECONDS)

    def said(self) -> str:
        return self._log.read_text()


class Writer:
    """Writes lines into a log, and rotates it now and then."""

    def __init__(self, file: Path, random: Random, rotate: Callable[[Path], None]) -> None:
        self._file = file
        self._random = random
        self._rotate = rotate
        self.written = 0

    def write(self, count: int) -> None:
        """Write each line in two parts, so that the follower meets incomplete lines."""
        with self._file.open("ab", buffering=0) as file:
            for _ in range(count):
                line = line_of(self.written)
                cut = self._random.randrange(1, len(line))
                file.write(line[:cut])
                file.write(line[cut:])
                self.written += 1

    def work_until(self, stopped: Event) -> None:
        while not stopped.is_set():
            self.write(self._random.randrange(LINES_MAX))
            if not self._random.randrange(10):
                self._rotate(self._file)
            stopped.wait(self._random.random() / 10)

    def wait_for(self, lines: int) -> None:
        assert wait_until(lambda: self.written >= lines, WAIT_SECONDS)


def line_of(number: int) -> bytes:
    return json.dumps({**EVENT, "call_id": f"call-{number}"}).encode() + b"\n"


def shift(file: Path) -> Path:
    """Give each rotated file the next number, as logrotate does. Return the free name."""
    earlier = sorted(file.parent.glob(f"{file.name}.[0-9]*"), key=lambda one: -int(one.suffix[1:]))
    for one in earlier:
        one.rename(file.with_name(f"{file.name}.{int(one.suffix[1:]) + 1}"))
    return file.with_name(f"{file.name}.1")


def renamed(file: Path) -> None:
    file.rename(shift(file))


def truncated(file: Path) -> None:
    shutil.copyfile(file, shift(file))
    os.truncate(file, 0)


def calls_in(service: ServiceProcess) -> Counter[str]:
    return Counter(call for _, call in rows_of(service.environment["INGEST_DATABASE_URL"]))


def published(service: ServiceProcess) -> Counter[str]:
    bodies = [json.loads(body) for _, body in embedded_messages(Path(service.environment["INGEST_DATA_DIR"]))]
    return Counter(body["call_id"] for body in bodies)


def wait_for_rows(service: ServiceProcess, count: int) -> None:
    assert wait_until(lambda: calls_in(service).total() >= count, WAIT_SECONDS), (count, calls_in(service).total())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rotate", [renamed, truncated])
def test_each_line_is_one_row_and_one_message_across_rotations_kills_and_outages(
    service: ServiceProcess, tmp_path: Path, rotate: Callable[[Path], None]
) -> None:
    file, random, stopped = tmp_path / "calls.ndjson", Random(19), Event()
    file.touch()
    follower, writer = FollowerProcess(file, service.port), Writer(file, random, rotate)
    writing = Thread(target=writer.work_until, args=(stopped,))
    writing.start()
    try:
        for kill in range(KILLS):
            follower.start()
            if kill % 3 == 1:
                service.stop()
                writer.wait_for(writer.written + random.randrange(200))
                service.start()
            wait_for_rows(service, calls_in(service).total() + random.randrange(300))
            follower.end(signal.SIGKILL)
    finally:
        stopped.set()
        writing.join()
    follower.start()
    writer.write(1)  # its row shows that the command runs: a signal before would end it at once

    expected = Counter(f"call-{number}" for number in range(writer.written))
    wait_for_rows(service, writer.written)
    assert follower.end(signal.SIGTERM) == 0
    assert calls_in(service) == expected
    assert wait_until(lambda: published(service).total() >= writer.written, WAIT_SECONDS)
    assert published(service) == expected
    assert "is gone" not in follower.said()
    assert not (tmp_path / "calls.ndjson.rejected").exists()


def test_one_command_at_a_time_follows_a_file(service: ServiceProcess, tmp_path: Path) -> None:
    file = tmp_path / "calls.ndjson"
    file.write_bytes(line_of(0))
    first = FollowerProcess(file, service.port)
    first.start()
    wait_for_rows(service, 1)

    second, whole = (run(file, service.port, *options) for options in (("--follow",), ()))

    assert first.end(signal.SIGTERM) == 0
    assert "Another `ingest send --follow` sends calls.ndjson." in second
    assert "calls.ndjson is sent with --follow." in whole
    assert calls_in(service).total() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_command_while_the_service_is_away(
    service: ServiceProcess, tmp_path: Path, number: signal.Signals
) -> None:
    service.stop()
    file = tmp_path / "calls.ndjson"
    file.write_bytes(line_of(0))
    follower = FollowerProcess(file, service.port)
    follower.start()
    assert wait_until(lambda: "Nothing is lost" in follower.said(), WAIT_SECONDS)

    assert follower.end(number) == 0
    assert "0 accepted, 0 rejected; 0 of them now" in follower.said()
    service.start()
    follower.start()
    wait_for_rows(service, 1)
    follower.end(signal.SIGTERM)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("calls.csv", ["--follow"], "--follow reads NDJSON only."),
        ("none/calls.ndjson", ["--follow"], "does not exist"),
        ("none.ndjson", [], "does not exist"),
        (".", [], "add --client"),
        (".", ["--remove"], "--remove needs --client"),
        ("none", ["--client", "freeswitch"], "is no folder"),
    ],
)
def test_wrong_path_is_told(tmp_path: Path, name: str, options: list[str], told: str) -> None:
    assert told in run(tmp_path / name, 1, *options)


def run(file: Path, port: int, *options: str) -> str:
    """Return what a command that fails says."""
    words = ["send", str(file), "--url", f"http://127.0.0.1:{port}", *options]
    done = run_ingest(words, {**os.environ, "CALL_EVENTS_TOKEN": TOKEN}, seconds=WAIT_SECONDS)
    assert done.returncode
    return " ".join(done.stderr.split())
