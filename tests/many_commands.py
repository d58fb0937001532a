"""Runs many commands in one child process, as starting Python for each would take the most time.

`python -m tests.many_commands` reads a list of `Run` from standard input, and writes a list of `Done`.
"""

import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import msgspec
from click.testing import CliRunner


class Run(msgspec.Struct):
    """A command with its words, and settings without their prefix."""

    words: list[str]
    settings: dict[str, str] = {}
    typed: str = ""
    environ: dict[str, str] = {}
    """Other variables of the environment."""


class Done(msgspec.Struct):
    words: list[str]
    code: int
    stdout: str
    stderr: str
    traceback: str

    @property
    def reason(self) -> str:
        """The last line on standard error. Lines before it name what the command uses."""
        return self.stderr.strip().splitlines()[-1] if self.stderr.strip() else ""


def run_commands(folder: Path, runs: Sequence[Run]) -> list[Done]:
    """Run each command in the folder, in embedded mode by default."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("INGEST_", "CALL_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.many_commands", str(folder)],
        env=inherited,
        input=msgspec.json.encode(list(runs)),
        stdout=subprocess.PIPE,
        timeout=100,
        check=True,
    )
    return msgspec.json.decode(ran.stdout, type=list[Done])


def _run(one: Run) -> Done:
    from ingest.cli.main import main  # noqa: PLC0415 - only the child needs it

    environ = {f"INGEST_{name}": value for name, value in one.settings.items()} | one.environ
    result = CliRunner(env=environ).invoke(main, one.words, input=one.typed)
    error = result.exception if not isinstance(result.exception, SystemExit) else None
    text = "".join(traceback.format_exception(error)) if error else ""
    return Done(one.words, result.exit_code, result.stdout, result.stderr, text)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    sys.stdout.buffer.write(
        msgspec.json.encode([_run(one) for one in msgspec.json.decode(sys.stdin.buffer.read(), type=list[Run])])
    )
