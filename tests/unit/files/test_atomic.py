"""State files are replaced whole: a failed write leaves the old content and no draft."""

import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest.files.atomic import replace_file, replace_volatile

WRITERS = pytest.mark.parametrize("write", [replace_file, replace_volatile])
Write = Callable[[Path, bytes], None]


@WRITERS
def test_the_folder_is_made_and_the_content_is_whole(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "run" / "state.json"

    write(path, b"one")
    write(path, b"two")

    assert path.read_bytes() == b"two"
    assert [one.name for one in path.parent.iterdir()] == ["state.json"]
    assert path.stat().st_mode & 0o777 == 0o600


@WRITERS
def test_a_full_disk_leaves_the_old_content_and_no_draft(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "state"
    write(path, b"old")
    child = os.fork()
    if child == 0:  # a process of its own, as the limit holds for all files
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write(path, b"x" * 5000)
        except OSError:
            os._exit(0)
        os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@WRITERS
def test_several_writers_leave_one_whole_content(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "state"
    contents = [bytes([65 + number]) * 20_000 for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write(path, content), contents * 5))

    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]
