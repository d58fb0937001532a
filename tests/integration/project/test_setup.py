"""The venv of `make run`: which Python makes it, what a user must install, and when it is made anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

REAL = f'exec {sys.executable} "$@"'
OLD = "case $* in *sys.exit*) exit 1 ;; *) echo 3.10.12 ;; esac"
WITHOUT_VENV = f"case $* in *ensurepip*) exit 1 ;; esac; {REAL}"
WITHOUT_PIP = f'case $1 in -m) set -- "$@" --without-pip ;; esac; {REAL}'
"""Makes a venv at once, as no test uses its pip."""
PYTHONS = ("python3", "python3.13", "python3.12")


class Setup:
    """`.ci/venv.sh` on a machine that has only the given Pythons: name → body of a shell script."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in ("sh", "sed", "cut", "rm", "grep", "basename", "cat"):
            (self.programs / name).symlink_to(str(shutil.which(name)))

    def has(self, **pythons: str) -> None:
        for name, body in pythons.items():
            path = self.programs / name.replace("_", ".")
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self.programs / "sh"), str(ROOT / ".ci/venv.sh"), *words]
        environment = {"PATH": str(self.programs)}
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A venv whose pip is empty."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (pip,) = folder.glob("lib/*/site-packages")
    (pip / "pip").mkdir()
    (pip / "pip" / "__init__.py").touch()
    (folder / "bin" / "pip").write_text(f"#!{folder}/bin/python\n")
    return folder


def test_missing_venv_module_is_named_with_its_package(setup: Setup, tmp_path: Path) -> None:
    setup.has(python3=WITHOUT_VENV)

    ran = setup.run("make", str(tmp_path / "new"), *PYTHONS)

    assert ran.returncode == 1
    assert "without its module venv or pip" in ran.stderr
    assert "apt install python3-venv" in ran.stderr
    assert not (tmp_path / "new").exists()


def test_old_python_is_named_with_what_to_do(setup: Setup, tmp_path: Path) -> None:
    setup.has(python3=OLD)

    ran = setup.run("make", str(tmp_path / "new"), *PYTHONS)

    assert ran.returncode == 1
    assert "python3 is Python 3.10.12, and the service needs 3.11 or newer." in ran.stderr
    assert "apt install" in ran.stderr
    assert "python3.12" not in ran.stderr  # Pythons that are not there do not matter


def test_machine_without_python_is_told_so(setup: Setup, tmp_path: Path) -> None:
    ran = setup.run("make", str(tmp_path / "new"), *PYTHONS)

    assert ran.returncode == 1
    assert "python3 is not installed." in ran.stderr


@pytest.mark.parametrize("unsuitable", [OLD, WITHOUT_VENV])
def test_another_suitable_python_is_taken(setup: Setup, tmp_path: Path, unsuitable: str) -> None:
    setup.has(python3=unsuitable, python3_13=WITHOUT_PIP)

    ran = setup.run("make", str(tmp_path / "new"), *PYTHONS)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "python3.13" in ran.stdout
    assert (tmp_path / "new" / "bin" / "python").exists()


def test_sound_venv_is_kept(setup: Setup, venv: Path) -> None:
    assert setup.run("broken", str(venv), str(venv / "absent")).stdout == ""


def test_copied_venv_is_found(setup: Setup, venv: Path, tmp_path: Path) -> None:
    shutil.copytree(venv, tmp_path / "copied", symlinks=True)

    assert setup.run("broken", str(venv), str(tmp_path / "copied")).stdout == f"{tmp_path / 'copied'}\n"
    assert setup.run("why", str(tmp_path / "copied")).stdout == f"it was made at {venv}\n"


def test_venv_without_its_python_is_found(setup: Setup, venv: Path) -> None:
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/usr/bin/python3.99")

    assert setup.run("why", str(venv)).stdout == "its Python is gone\n"


def test_venv_of_another_python_version_is_found(setup: Setup, venv: Path) -> None:
    (packages,) = venv.glob("lib/python*")
    packages.rename(venv / "lib" / "python3.99")

    assert setup.run("why", str(venv)).stdout == "it has no pip for its Python\n"


def test_venv_whose_installation_was_interrupted_is_made_anew(setup: Setup, venv: Path) -> None:
    setup.has(python3=WITHOUT_PIP)
    (venv / "half").touch()

    assert setup.run("complete", str(venv)).returncode == 1
    ran = setup.run("make", str(venv), "python3")

    assert f"{venv} is made anew: its installation did not end." in ran.stdout
    assert not (venv / "half").exists()


def test_complete_venv_needs_no_work(setup: Setup, venv: Path) -> None:
    (venv / "installed").touch()

    assert setup.run("complete", str(venv)).returncode == 0


def test_broken_venv_is_made_anew_by_make(tmp_path: Path) -> None:
    (tmp_path / "broken" / "bin").mkdir(parents=True)
    (tmp_path / "broken" / "installed").touch()

    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "install", f"VENV={tmp_path / 'broken'}"]
    planned = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout

    assert f"venv.sh make {tmp_path / 'broken'}" in planned
