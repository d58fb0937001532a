"""Debian systems in folders, in which tests install and run what users install."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.paths import ROOT

SCRIPT = ROOT / "tests" / "setup" / "in-chroot.sh"
MAKE_SECONDS = 900
RUN_SECONDS = 600
STOP_SECONDS = 40
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def make_minimal(release: str, *packages: str) -> Path:
    """Return the folder of a minimal system. It is made once for each machine, and must stay as it is."""
    command = ["sh", str(SCRIPT), "make", release, *packages]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=MAKE_SECONDS)
    return Path(made.stdout.strip())


class Chroot:
    """A copy of a system. Each command has namespaces of its own, so that no mount and no process is left behind."""

    def __init__(self, system: Path, folder: Path) -> None:
        subprocess.run(["cp", "-a", "--reflink=auto", str(system), str(folder)], check=True)
        self.folder = folder
        self.log = folder.with_suffix(".log")

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def path(self, inside: str) -> Path:
        """Return this machine's path of an absolute path of the system."""
        return self.folder / inside.lstrip("/")

    def run(
        self,
        *words: str,
        user: str = "root",
        environment: Mapping[str, str] = ENVIRONMENT,
        check: bool = True,
        index: bool = False,
        given: str = "",
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command, with `given` on its standard input. The output has both streams.

        With `index`, pip reaches this machine's index of packages.
        """
        done = subprocess.run(
            self._command(words, user, environment),
            env=os.environ | {"REACH_INDEX": "1" if index else ""},
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
        )
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
        return done

    def _command(self, words: Sequence[str], user: str, environment: Mapping[str, str]) -> list[str]:
        assignments = [f"{name}={value}" for name, value in environment.items()]
        return ["sh", str(SCRIPT), "run", str(self.folder), user, *assignments, *words]

    @contextmanager
    def running(self, *words: str, user: str, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a service, and end it by SIGTERM. Its log is beside the system, with `.log` after its name."""
        with (
            self.log.open("ab") as log,
            subprocess.Popen(
                self._command(words, user, environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            ) as outer,
        ):
            try:
                yield outer
            finally:
                for child in Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGTERM)
                outer.wait(STOP_SECONDS)
