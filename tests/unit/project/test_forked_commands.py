"""A command that is forked behaves as one that `python -m ingest` starts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commands.forked import Forked, run_ingest, start_ingest
from tests.services import free_port, wait_until
from tests.services.processes import process_state

USUAL = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}

SECONDS = 60.0


def started(words: Sequence[str], environment: Mapping[str, str], folder: Path, typed: str) -> tuple[int, str, str]:
    argv = [sys.executable, "-m", "ingest", *words]
    done = subprocess.run(
        argv, cwd=folder, env=environment, check=False, input=typed, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "settings", "typed"),
    [
        (["--version"], {}, ""),
        (["nothing"], {}, ""),
        (["config"], {"INGEST_PORT": "8123"}, ""),
        (["config"], {"INGEST_PORT": "none"}, ""),
        (["tokens", "hash"], {}, "abc\n"),
        (["spool", "ls"], {"INGEST_DATA_DIR": "absent"}, ""),
    ],
)
def test_output_and_exit_code_are_the_same(
    words: list[str], settings: dict[str, str], typed: str, tmp_path: Path
) -> None:
    environment = USUAL | settings

    forked = run_ingest(words, environment, folder=tmp_path, typed=typed)

    assert (forked.returncode, forked.stdout, forked.stderr) == started(words, environment, tmp_path, typed)


def test_files_have_the_same_place_and_mode(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert run_ingest(["migrate"], USUAL, folder=tmp_path).returncode == 0
    finally:
        os.umask(before)

    assert {(file.name, file.stat().st_mode & 0o777) for file in (tmp_path / "var").glob("*.db")} == {
        ("call-events.db", 0o600)
    }


def test_variable_that_python_reads_at_its_start_has_its_effect(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('customized')")

    assert "customized" in run_ingest(["--version"], USUAL | {"PYTHONPATH": str(tmp_path)}, folder=tmp_path).stdout


def test_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    (tmp_path / "calls.ndjson").touch()
    words = ["send", "calls.ndjson", "--follow", "--url", f"http://127.0.0.1:{free_port()}"]

    assert run_ingest(["--version"], USUAL).returncode == 0  # the server has started
    with pytest.raises(subprocess.TimeoutExpired):
        run_ingest(words, USUAL | {"CALL_EVENTS_TOKEN": "any"}, folder=tmp_path, seconds=2.0)

    assert wait_until(lambda: not processes_in(tmp_path), SECONDS)
    assert run_ingest(["--version"], USUAL).returncode == 0


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Forked]:
    """A command that waits for a file's lines."""
    (tmp_path / "calls.ndjson").touch()
    words = ["send", "calls.ndjson", "--follow", "--url", f"http://127.0.0.1:{free_port()}"]
    with Path(os.devnull).open("r+b") as nothing:
        process = start_ingest(words, USUAL | {"CALL_EVENTS_TOKEN": "any"}, [nothing] * 3, tmp_path)
    assert isinstance(process, Forked)
    yield process
    process.close()


def test_process_id_stays_taken_until_the_exit_code_is_read(sending: Forked) -> None:
    assert sending.poll() is None
    sending.kill()

    assert wait_until(lambda: process_state(sending.pid) == "Z", SECONDS)
    assert sending.wait(SECONDS) == -signal.SIGKILL
    assert wait_until(lambda: process_state(sending.pid) == "", SECONDS)
    sending.kill()  # the id may be another process's by now
    assert sending.poll() == -signal.SIGKILL


def test_process_that_nobody_waits_for_is_killed(sending: Forked) -> None:
    pid = sending.pid
    sending.close()

    assert wait_until(lambda: process_state(pid) == "", SECONDS)


def processes_in(folder: Path) -> list[str]:
    """Return the ids of the processes that work in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(process.name)
    return found
