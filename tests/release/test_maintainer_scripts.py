"""Stand-ins for systemd's two commands record which units the package starts and stops in a bare Debian.

The packages here are small. `test_debian_package.py` installs the real one.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.release.chroots import Chroot, make_minimal
from tests.unit.release.test_debian_package import packed, small_venv

ENV = "/etc/call-events/env"
MYSQL = "INGEST_DATABASE_URL='mysql://user:pass@db:3306/call_events'\n"
RABBITMQ = "INGEST_BROKER_URL=amqp://user:pass@mq:5672/\n"
UNIT = "call-events.service"
FIRST, BOTH = ("0001_events.sql",), ("0001_events.sql", "0002_index.sql")

pytestmark = pytest.mark.timeout(1200)


class Machine:
    """A Debian on which systemd seems to run."""

    def __init__(self, chroot: Chroot, folder: Path) -> None:
        self.chroot = chroot
        self._folder = folder
        self._actions = chroot.path("/actions")
        chroot.path("/run/systemd/system").mkdir(parents=True)
        for command, line in (("systemctl", "true"), ("deb-systemd-invoke", 'echo "$@" >>/actions')):
            path = chroot.path(f"/usr/bin/{command}")
            path.unlink(missing_ok=True)
            path.write_text(f"#!/bin/sh\n{line}\n")
            path.chmod(0o755)

    def dpkg(self, *words: str) -> tuple[list[str], str]:
        """Return which units dpkg started and stopped, and its output."""
        self._actions.write_text("")
        options = ("--force-depends", "--force-confold")
        output = self.chroot.run("dpkg", *options, *words).stdout
        return self._actions.read_text().splitlines(), output

    def install(self, version: str, migrations: tuple[str, ...]) -> tuple[list[str], str]:
        folder = Path(mkdtemp(dir=self._folder))
        venv = small_venv(folder, version)
        sql = venv / "lib/python3.11/site-packages/ingest/sql/mysql"
        sql.mkdir(parents=True)
        for name in migrations:
            (sql / name).touch()
        shutil.copy(packed(venv, folder), self.chroot.path("/root/small.deb"))
        return self.dpkg("--install", "/root/small.deb")

    def set(self, settings: str) -> None:
        self.chroot.path(ENV).write_text(settings)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    chroot = Chroot(make_minimal("bookworm"), folder / "debian")
    yield Machine(chroot, folder)
    chroot.remove()


@pytest.fixture
def machine(bare: Machine) -> Iterator[Machine]:
    """A machine that never had the package."""
    yield bare
    bare.dpkg("--purge", "call-events")


def test_service_is_started_restarted_and_stopped(machine: Machine) -> None:
    assert machine.install("1.0", FIRST)[0] == [f"start {UNIT}"]
    assert machine.install("1.1", FIRST)[0] == [f"restart {UNIT}"]
    assert machine.dpkg("--remove", "call-events")[0] == [f"stop {UNIT}"]
    assert machine.dpkg("--purge", "call-events")[0] == []


def test_new_tables_of_mysql_wait_for_the_administrator(machine: Machine) -> None:
    machine.install("1.0", FIRST)
    machine.set(MYSQL)
    assert machine.install("1.1", FIRST)[0] == [f"restart {UNIT}"]

    actions, output = machine.install("1.2", BOTH)

    assert actions == []
    assert "ingest --env-file /etc/call-events/env migrate" in output
    assert f"systemctl restart {UNIT}" in output


def test_embedded_service_is_restarted_also_with_new_tables(machine: Machine) -> None:
    machine.install("1.0", FIRST)
    machine.set(f"#{MYSQL}#{RABBITMQ}")

    assert machine.install("1.1", BOTH)[0] == [f"restart {UNIT}"]


@pytest.mark.parametrize("settings", [MYSQL, RABBITMQ])
def test_first_installation_with_prepared_settings_waits_for_the_tables(machine: Machine, settings: str) -> None:
    machine.chroot.path("/etc/call-events").mkdir()
    machine.set(settings)

    actions, output = machine.install("1.0", FIRST)

    assert (actions, "migrate" in output) == ([], True)
    assert machine.chroot.path(ENV).read_text() == settings


def test_folder_of_the_administrator_keeps_its_owner_and_mode(machine: Machine) -> None:
    moved = machine.chroot.path("/srv/events")
    moved.mkdir(mode=0o750)
    machine.chroot.path("/var/lib/call-events").symlink_to("/srv/events")

    machine.install("1.0", FIRST)
    machine.dpkg("--purge", "call-events")

    assert (moved.stat().st_mode & 0o777, moved.stat().st_uid) == (0o750, 0)
