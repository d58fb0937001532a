"""Contents, modes and fields of the Debian package, packed from a small venv. `make test-deb` installs the real one."""

import os
import subprocess
from pathlib import Path

import pytest

from ingest.cli.shell.env_file import read_env_file
from ingest.settings import read_settings
from tests.paths import ROOT
from tests.systemd_unit import UNIT, environment_of_unit, read_unit

DEBIAN = ROOT / ".ci/release/debian"
EPOCH = "1700000000"


def small_venv(folder: Path, version: str = "1.0") -> Path:
    """A venv with one package, whose license is in its metadata."""
    venv = folder / "venv"
    packages = venv / "lib/python3.11/site-packages"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/ingest").write_text("#!/usr/lib/call-events/bin/python\n")
    for name, given in (("call_events_ingest", version), ("library", "2.0")):
        info = packages / f"{name}-{given}.dist-info"
        info.mkdir(parents=True)
        lines = [
            "Metadata-Version: 2.4",
            f"Name: {name.replace('_', '-')}",
            f"Version: {given}",
            "License-Expression: X11",
        ]
        (info / "METADATA").write_text("\n".join([*lines, ""]))
    (packages / "module.py").touch(mode=0o777)
    return venv


def packed(venv: Path, folder: Path, umask: int = 0o022) -> Path:
    ran = subprocess.run(
        ["sh", str(DEBIAN / "pack.sh"), str(venv), "python3.11", str(folder)],
        env={"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": EPOCH},
        umask=umask,
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(ran.stdout.splitlines()[-1])


def field(package: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", str(package), name]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    return packed(small_venv(folder), folder)


def listed(package: Path) -> dict[str, tuple[str, str]]:
    """Return path → mode and owner of all that the package installs."""
    command = ["dpkg-deb", "--contents", str(package)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {words[5].removeprefix("."): (words[0], words[1]) for words in map(str.split, lines)}


def test_settings_are_secret_and_all_else_is_readable(package: Path) -> None:
    files = listed(package)
    assert files.pop("/etc/call-events/env") == ("-rw-r-----", "root/root")
    assert {owner for _, owner in files.values()} == {"root/root"}
    assert files["/usr/lib/call-events/bin/ingest"][0] == "-rwxr-xr-x"
    del files["/usr/lib/call-events/bin/ingest"]
    assert {mode for mode, _ in files.values()} == {"drwxr-xr-x", "-rw-r--r--", "lrwxrwxrwx"}


def test_package_needs_the_interpreter_of_its_venv_and_names_its_architecture(package: Path) -> None:
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert field(package, "Architecture") == architecture.strip()
    assert "python3.11" in field(package, "Depends").split(", ")
    assert package.name == f"call-events_{field(package, 'Version')}_{architecture.strip()}.deb"


@pytest.mark.parametrize(
    ("version", "debian"),
    [
        ("1.0", "1.0-1"),
        ("1.0rc1", "1.0~rc1-1"),
        ("1.1.dev3+g1a2b", "1.1~dev3+g1a2b-1"),
        ("1.2b1.dev4", "1.2~b1~dev4-1"),
    ],
)
def test_version_before_a_release_is_lower_than_the_release(version: str, debian: str, tmp_path: Path) -> None:
    given = field(packed(small_venv(tmp_path, version), tmp_path), "Version")
    assert given.startswith(f"{debian}~")
    final = version[:3]
    assert (
        version == final
        or subprocess.run(["dpkg", "--compare-versions", given, "lt", final], check=False).returncode == 0
    )


def test_two_packs_are_the_same_bytes(package: Path, tmp_path: Path) -> None:
    venv = small_venv(tmp_path)
    os.utime(venv / "bin/ingest", (1, 1))

    again = packed(venv, tmp_path / "other", umask=0o077)

    assert again.read_bytes() == package.read_bytes()


def test_unit_settings_and_licences_are_inside(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tmp_path / "tree")], check=True)
    tree = tmp_path / "tree"
    assert (tree / "usr/lib/systemd/system/call-events.service").read_bytes() == UNIT.read_bytes()
    assert (tree / "DEBIAN/conffiles").read_text() == f"{read_unit()['Service']['EnvironmentFile']}\n"
    assert (tree / read_unit()["Service"]["ExecStart"].split()[0].lstrip("/")).is_symlink()
    copyright_file = (tree / "usr/share/doc/call-events/copyright").read_text()
    assert (ROOT / "LICENSE").read_text().strip() in copyright_file
    assert "library 2.0: X11" in copyright_file


def test_service_without_changed_settings_needs_no_server_and_serves_this_machine_only() -> None:
    in_file = read_env_file(DEBIAN / "env")
    settings = read_settings(environment_of_unit() | in_file)
    assert (settings.embedded, settings.host) == (True, "127.0.0.1")
    assert environment_of_unit().items() <= in_file.items()  # commands and service use the same data
    assert settings.database_url.startswith(f"sqlite:///{settings.data_dir}/")
    assert str(settings.data_dir) == f"/var/lib/{read_unit()['Service']['StateDirectory']}"
