"""Reading commands leave no trace, and commands of root leave only files that the service can use."""

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.commands import Ran, one_line
from tests.running import EVENT, ServiceProcess, as_user
from tests.services import free_port, wait_until

SERVICE, ANOTHER = (65534, 65533) if os.geteuid() == 0 else (os.geteuid(), os.geteuid())
"""The service's user and another user. Tests that do not run as root have only their own user."""
SECONDS = 60.0
OUTPUT = ("service.log", "service.out")
"""Files of the tests themselves."""

READING: list[tuple[str, ...]] = [
    ("--version",),
    ("config",),
    ("doctor",),
    ("spool", "ls"),
    ("spool", "verify"),
    ("tokens", "list"),
    ("dead", "ls"),
    ("replay", "--dry-run"),
    ("top", "--once", "--url", f"http://127.0.0.1:{free_port()}"),
]
WRITING: list[tuple[str, ...]] = [
    ("migrate",),
    ("log-level", "debug"),
    ("tokens", "create", "tenant"),
    ("tokens", "revoke", "tenant"),
    ("tail", "--timeout", "0"),
    ("replay",),
    ("spool", "retry"),
]

Tree = Mapping[Path, tuple[int, int, int]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the service's user may enter. The folders of pytest belong to root."""
    with tempfile.TemporaryDirectory(prefix="call-events-owners-") as name:
        os.chown(name, SERVICE, SERVICE)
        yield Path(name)


@pytest.fixture
def service(folder: Path) -> ServiceProcess:
    return ServiceProcess(folder, user=SERVICE)


@pytest.fixture
def killed(service: ServiceProcess, folder: Path) -> ServiceProcess:
    """A service that accepted an event and was killed."""
    with service:
        assert service.post(EVENT)[0] == 200
        service.kill()
    assert list((folder / "var" / "run").glob("seat-*.lock"))
    return service


def tree(folder: Path) -> Tree:
    """Return owner, size and time of change of all files and folders, without SQLite's shared-memory files."""
    return {
        path: (status.st_uid, status.st_size, status.st_mtime_ns)
        for path in folder.rglob("*")
        for status in [path.lstat()]
        if not path.name.endswith(("-shm", *OUTPUT)) and path.is_file()
    } | {path: (path.lstat().st_uid, 0, 0) for path in folder.rglob("*") if path.is_dir()}


def foreign(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if is_foreign(path) and path.name not in OUTPUT]


def is_foreign(path: Path) -> bool:
    """Look at the file. A running service replaces some files at any time."""
    try:
        return path.lstat().st_uid != SERVICE
    except FileNotFoundError:
        return False


def run(service: ServiceProcess, words: tuple[str, ...], user: int | None, **settings: str) -> Ran:
    environment = service.environment | {f"INGEST_{name}": value for name, value in settings.items()}
    argv = [service.python, "-m", "ingest", *words]
    how = as_user(user)
    return subprocess.run(argv, env=environment, check=False, capture_output=True, text=True, timeout=60, **how)


def make_data_folder(folder: Path) -> None:
    data = folder / "var"
    data.mkdir()
    os.chown(data, SERVICE, -1)


each_user = pytest.mark.parametrize("user", [None, SERVICE], ids=["root", "service"])


@each_user
def test_reading_commands_create_nothing_in_an_empty_folder(
    service: ServiceProcess, folder: Path, user: int | None
) -> None:
    for words in READING:
        ran = run(service, words, user)

        assert "Traceback" not in ran.stderr, ran
        assert list(folder.iterdir()) == [], words


@each_user
def test_reading_commands_change_no_file(killed: ServiceProcess, folder: Path, user: int | None) -> None:
    before = tree(folder)

    for words in READING:
        ran = run(killed, words, user)
        assert words[0] == "top" or ran.returncode == 0, ran
        assert tree(folder) == before, words


def test_unprivileged_service_works_with_files_of_roots_commands(service: ServiceProcess, folder: Path) -> None:
    make_data_folder(folder)
    for words in WRITING:
        ran = run(service, words, None)
        assert words[0] not in ("migrate", "log-level") or ran.returncode == 0, ran
        assert not foreign(folder), words

    with service:
        for words in [
            ("migrate",),
            ("doctor",),
            ("tokens", "list"),
            ("log-level", "debug"),
            ("tail", "--timeout", "0"),
        ]:
            run(service, words, None)
            assert not foreign(folder), words
        assert service.post(EVENT)[0] == 200
        workers = set(service.worker_pids())
        os.kill(service.pid, signal.SIGHUP)
        assert wait_until(lambda: len(new := set(service.worker_pids())) == len(workers) and not new & workers, SECONDS)
        service.wait_for_status("ready")
        assert service.stop() == 0


def test_spool_drained_by_root_still_belongs_to_the_service(
    service: ServiceProcess, folder: Path, real: Mapping[str, str]
) -> None:
    make_data_folder(folder)
    run(service, ("migrate",), None, **real)

    assert run(service, ("spool", "drain"), None, **real).returncode == 0

    assert (folder / "var" / "spool").is_dir()
    assert not foreign(folder)


@pytest.mark.parametrize("mode", [0o700, 0o755], ids=oct)
def test_writing_commands_of_another_user_are_refused(killed: ServiceProcess, folder: Path, mode: int) -> None:
    folder.chmod(mode)
    for words in [*WRITING, ("spool", "drain")] if ANOTHER != SERVICE else []:
        said = one_line(run(killed, words, ANOTHER))

        assert f"belongs to {pwd.getpwuid(SERVICE).pw_name}: run the command as that user" in said, words


def test_doctor_reports_files_that_the_service_cannot_use(killed: ServiceProcess, folder: Path) -> None:
    stray = folder / "var" / "run" / "seat-9.lock"
    stray.touch(0o600)
    os.chown(stray, 0 if ANOTHER != SERVICE else SERVICE, -1)

    ran = run(killed, ("doctor",), None)

    assert (f"FAIL  data folder: INGEST_DATA_DIR: {stray} belongs to root" in ran.stdout) == (ANOTHER != SERVICE), ran
