"""The Debian package in a bare Debian 12: installed, upgraded, removed, purged. systemd does not run in a chroot.

So the tests run the unit's command as its user, with its environment.
"""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.cli.shell.env_file import read_env_file
from tests.paths import DOCS, ROOT
from tests.release.chroots import Chroot, make_minimal
from tests.release.events import post
from tests.release.packages import build, copy_of_checkout, repacked
from tests.services import free_port, wait_until
from tests.systemd_unit import UNIT, environment_of_unit, read_unit

ENV = "/etc/call-events/env"
DATA = "/var/lib/call-events"
LOGS = "/var/log/call-events"
VENV = "/usr/lib/call-events"
USER = "call-events:call-events"
COMMAND = ("ingest", "--env-file", ENV)
OLD = "0.0.1-1"
START_SECONDS = 60.0

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    """A bare Debian with the lists of the archive, as `apt-get update` leaves them."""
    chroot = Chroot(make_minimal("bookworm"), tmp_path_factory.mktemp("system") / "debian")
    chroot.run("apt-get", "-q", "update")
    yield chroot
    chroot.remove()


def install(system: Chroot, package: Path) -> str:
    """Install a file by apt, as a user does who takes each default. Return apt's output."""
    shutil.copy(package, system.path("/root/package.deb"))
    return system.run(
        "apt-get", "-q", "-y", "--no-install-recommends", "install", "/root/package.deb", given="\n"
    ).stdout


def mode(system: Chroot, *paths: str) -> list[str]:
    return system.run("stat", "-c", "%a %U:%G", *paths).stdout.splitlines()


@contextmanager
def served(system: Chroot) -> Iterator[int]:
    """Run the unit's command. Yield the port, once the service answers."""
    service = read_unit()["Service"]
    settings = environment_of_unit() | read_env_file(system.path(service["EnvironmentFile"]))
    settings.setdefault("INGEST_PORT", str(free_port()))
    argv = ["sh", "-c", 'umask "$0" && exec "$@"', service["UMask"], *shlex.split(service["ExecStart"])]
    user = f"{service['User']}:{service['User']}"
    port = int(settings["INGEST_PORT"])
    with system.running(*argv, user=user, environment=settings | {"PATH": "/usr/bin:/bin"}) as process:
        assert wait_until(lambda: process.poll() is not None or post(port, "wrong") in (401, 403), START_SECONDS)
        assert process.poll() is None, system.log.read_text()
        yield port
    assert process.returncode == 0


def test_two_builds_in_two_folders_are_the_same_bytes(package: Path, tmp_path: Path) -> None:
    another = build(copy_of_checkout(tmp_path / "elsewhere"), tmp_path, umask=0o077)

    assert another.name == package.name
    assert another.read_bytes() == package.read_bytes()


def test_lintian_finds_nothing(package: Path) -> None:
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", str(package)]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    assert found.returncode == 0, found.stdout
    assert found.stdout.replace("running with root privileges is not recommended!", "").strip() == ""


def test_documented_size_is_that_of_the_package(package: Path) -> None:
    assert f", {package.stat().st_size / 1e6:.0f} MB, in `dist/`" in (DOCS / "debian.md").read_text("utf-8")


def test_installed_service_stores_its_first_event(system: Chroot, package: Path) -> None:
    began = time.monotonic()
    install(system, package)
    installed = time.monotonic()
    assert list(system.path(DATA).iterdir()) == []  # postinst makes no table
    with served(system) as port:
        assert post(port) == 200
        ended = time.monotonic()
        got = system.run(*COMMAND, "tail", "--limit", "1", user=USER).stdout
    assert '"call_id":"call-1"' in got
    sys.stderr.write(
        f"\n{package.stat().st_size / 1e6:.1f} MB; apt install {installed - began:.1f} s; "
        f"first event stored after {ended - began:.1f} s\n"
    )


def test_installed_files_are_those_of_the_package(system: Chroot) -> None:
    assert system.run("dpkg", "--verify", "call-events").stdout == ""
    assert system.path("/usr/lib/systemd/system/call-events.service").read_bytes() == UNIT.read_bytes()
    wanted = system.path("/etc/systemd/system/multi-user.target.wants/call-events.service")
    assert wanted.is_symlink()


def test_only_the_services_user_reads_settings_events_and_logs(system: Chroot) -> None:
    assert mode(system, ENV, DATA, LOGS) == ["640 root:call-events", *["700 call-events:call-events"] * 2]
    files = [path for path in system.path(DATA).rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if path.stat().st_mode & 0o077] == []
    name, _, uid, *_, home, shell = system.run("getent", "passwd", "call-events").stdout.strip().split(":")
    assert (int(uid) < 1000, home, shell) == (True, DATA, "/usr/sbin/nologin"), name


def test_the_services_user_cannot_change_the_program(system: Chroot) -> None:
    writable = ["find", VENV, "/usr/bin/ingest", ENV, "-writable", "!", "-type", "l"]
    assert system.run(*writable, user=USER).stdout == ""
    assert system.run("ingest", "--version", user="nobody:nogroup").stdout.startswith("ingest")


def test_every_library_is_there(system: Chroot) -> None:
    libraries = "find /usr/lib/call-events -name '*.so*' -exec ldd {} + | grep 'not found'"
    assert system.run("sh", "-c", libraries, check=False).stdout == ""


def test_every_compiled_library_can_be_imported(system: Chroot) -> None:
    """Their symbols for debuggers are gone, and not all of them serve an embedded service."""
    packages = system.path(VENV) / "lib/python3.11/site-packages"
    files = [file.relative_to(packages) for file in packages.rglob("*.so") if ".libs" not in str(file.parent)]
    modules = sorted({str(file).partition(".")[0].replace("/", ".") for file in files})
    assert len(modules) > 20
    command = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    assert system.run(f"{VENV}/bin/python", "-W", "ignore", "-c", command, *modules).stdout == ""


def test_systemd_accepts_the_unit(system: Chroot) -> None:
    system.run("apt-get", "-q", "-y", "--no-install-recommends", "install", "systemd")

    assert system.run("systemd-analyze", "verify", "/usr/lib/systemd/system/call-events.service").stdout == ""


def test_purging_leaves_nothing_but_the_user(system: Chroot) -> None:
    output = system.run("apt-get", "-q", "-y", "purge", "call-events").stdout

    assert f"deleting {DATA} with " in output
    assert "the user call-events stays" in output
    left = ["find", "/etc", "/usr", "/var", "-xdev", "-name", "*call-events*"]
    assert system.run(*left).stdout == ""


def edited(tree: Path) -> None:
    """A version whose settings file was another one, so that dpkg must choose."""
    env = tree / "etc/call-events/env"
    env.write_text(env.read_text() + "# An older comment.\n")


def test_upgrade_keeps_edited_settings_and_events(system: Chroot, package: Path, tmp_path: Path) -> None:
    install(system, repacked(package, tmp_path, OLD, edited))
    env = system.path(ENV)
    env.write_text(f"{env.read_text()}INGEST_PORT={free_port()}\nINGEST_API_TOKENS=our-own-token\n")
    before = env.read_text()
    with served(system) as port:
        assert post(port, "our-own-token", "before") == 200

    install(system, package)

    assert OLD not in system.run("dpkg-query", "-W", "call-events").stdout
    assert env.read_text() == before
    assert mode(system, ENV, DATA) == ["640 root:call-events", "700 call-events:call-events"]
    with served(system) as port:
        assert post(port, "our-own-token", "after") == 200
    events = system.run(*COMMAND, "events", "ls", user=USER).stdout
    assert ("before" in events, "after" in events) == (True, True)


def test_removal_keeps_settings_and_events_for_the_next_installation(system: Chroot, package: Path) -> None:
    before = system.path(ENV).read_text()
    output = system.run("apt-get", "-q", "-y", "remove", "call-events").stdout

    assert f"{DATA} and {LOGS} stay" in output
    assert not system.path(VENV).exists()
    assert not system.path("/usr/lib/systemd/system/call-events.service").exists()
    assert system.path(ENV).read_text() == before
    install(system, package)
    assert "before" in system.run(*COMMAND, "events", "ls", user=USER).stdout
