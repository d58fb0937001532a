"""Builds the Debian package, and versions of it that differ."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.paths import ROOT

BUILD = ".ci/release/debian/build.sh"
BUILD_SECONDS = 600


def build(source: Path, folder: Path, umask: int = 0o022) -> Path:
    """Build the package of a checkout. Return its file in `folder`."""
    pip = str(Path(sys.executable).parent / "pip")
    command = ["sh", str(source / BUILD), str(folder)]
    built = subprocess.run(
        command, env=os.environ | {"PIP": pip}, umask=umask, check=True, stdout=subprocess.PIPE, text=True,
        timeout=BUILD_SECONDS,
    )  # fmt: skip
    return Path(built.stdout.splitlines()[-1])


def copy_of_checkout(folder: Path) -> Path:
    """Return a clone of this checkout, with its changes that are not committed."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    names = [name for name in listed.decode().split("\0") if name and (ROOT / name).exists()]
    subprocess.run(["cp", "-a", "--parents", "--target-directory", str(folder), *names], cwd=ROOT, check=True)
    return folder


def repacked(package: Path, folder: Path, version: str, edit: Callable[[Path], None]) -> Path:
    """Return a package of another version. `edit` changes its unpacked tree."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN" / "control"
    lines = [
        f"Version: {version}" if line.startswith("Version: ") else line for line in control.read_text().splitlines()
    ]
    control.write_text("\n".join([*lines, ""]))
    edit(tree)
    made = folder / f"call-events_{version}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(made)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return made
