"""Other users of the host cannot read what the service writes, and cannot read files of earlier versions any more."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.commands import Ingest
from tests.conftest import StartService
from tests.running import EVENT, ServiceProcess
from tests.services import MySQLServer, wait_until

OTHERS = 0o077
SECONDS = 60.0


def open_to_others(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if is_open_to_others(path)]


def is_open_to_others(path: Path) -> bool:
    """Look at the file. A running service replaces some files at any time."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return bool(mode & OTHERS) and not stat.S_ISLNK(mode)


@contextmanager
def lenient_umask() -> Iterator[None]:
    """New files are for everybody, if a program does not say otherwise."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def test_all_files_are_for_the_services_user_only(tmp_path: Path) -> None:
    data = tmp_path / "var"
    service = ServiceProcess(tmp_path, {"DATABASE_URL": f"sqlite:///{data / 'call-events.db'}"})
    with lenient_umask(), service:
        assert service.post(EVENT)[0] == 200
        service.request("GET", "/metrics")
        service.command("log-level", "debug", "--for", "1m")
        expected = {"call-events.db", "embedded-queue.db", "run/tokens", "run/exposition", "slots"}
        assert wait_until(lambda: expected <= names(data), SECONDS), names(data)
        assert open_to_others(data) == []


def test_spool_is_for_the_services_user_only(
    start_service: StartService, mysql: MySQLServer, full_settings: Mapping[str, str]
) -> None:
    with lenient_umask():
        service = start_service()
        service.wait_for_status("ready")
        mysql.query("DROP TABLE ingest_outbox", full_settings["DATABASE_URL"].rpartition("/")[2])
        assert service.post(EVENT)[0] == 200
        data = Path(service.environment["INGEST_DATA_DIR"])
        assert wait_until(lambda: any(name.startswith("spool/spool-") for name in names(data)), SECONDS)
        assert open_to_others(data) == []


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_files_of_an_earlier_version_are_tightened_and_logged_once(tmp_path: Path) -> None:
    database = tmp_path / "elsewhere" / "events.db"
    service = ServiceProcess(tmp_path, {"DATABASE_URL": f"sqlite:///{database}"})
    with service:
        assert service.post(EVENT)[0] == 200
    data = tmp_path / "var"
    (data / "spool").mkdir()
    (data / "spool" / "old.log").write_bytes(b"events")
    for path in (data, *data.rglob("*"), database.parent, database):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (data / "run" / "link").symlink_to(tmp_path / "service.log")
    (tmp_path / "service.log").chmod(0o644)

    with service:
        assert open_to_others(data) == []
        assert database.stat().st_mode & OTHERS == 0
        assert database.parent.stat().st_mode & OTHERS  # this folder may have other files
        assert (tmp_path / "service.log").stat().st_mode & OTHERS  # a link's target is not ours
        service.stop()
        service.start()
        service.wait_for_status("ready")

    (told,) = [line for line in service.log_lines() if "other users" in line["message"]]
    assert told["message"] == "other users had rights on files of the service: the rights are removed now"


def test_folder_with_files_of_others_stays_open(tmp_path: Path) -> None:
    data = tmp_path / "var"
    data.mkdir(mode=0o755)
    (data / "index.html").touch(0o644)
    with ServiceProcess(tmp_path):
        assert open_to_others(data) == [data, data / "index.html"]


def test_files_of_commands_are_for_their_user_only(ingest: Ingest, tmp_path: Path) -> None:
    with lenient_umask():
        assert ingest("migrate").returncode == 0
    assert open_to_others(tmp_path / "var") == []
