"""Runs the commands of `ingest` as users do."""

import os
import subprocess
from itertools import dropwhile
from pathlib import Path

from tests.commands.forked import run_ingest
from tests.services import free_port

PASSWORD = "a-password-of-the-tests"
NAMED = ("database: ", "broker: ", "data folder: ", "service: ", "archive: ")
TOKENS = "first-secret,second-secret"

Ran = subprocess.CompletedProcess[str]


class Ingest:
    """`ingest("tail", "--limit", "1", QUEUE="calls")` runs the command in `folder`, in embedded mode by default."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *words: str, typed: str = "", **settings: str) -> Ran:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
        given = {f"INGEST_{name}": value for name, value in settings.items()}
        return run_ingest(words, inherited | given, folder=self._folder, typed=typed)


def nowhere(scheme: str, path: str) -> str:
    """Return a URL where no server listens."""
    return f"{scheme}://ingest:{PASSWORD}@127.0.0.1:{free_port()}/{path}"


def told(stderr: str) -> str:
    """Return the text without the lines before it that name what the command uses."""
    lines = stderr.splitlines(keepends=True)
    return "".join(dropwhile(lambda line: line.startswith(NAMED), lines))


def one_line(ran: Ran) -> str:
    """Return the single line that says why the command failed."""
    assert (ran.returncode, ran.stdout) == (1, ""), ran
    said = told(ran.stderr)
    assert said.startswith("ingest: "), ran
    assert said.count("\n") == 1, ran
    return said.strip()
