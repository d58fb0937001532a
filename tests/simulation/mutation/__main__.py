"""`python -m tests.simulation.mutation`: puts each mutant into a copy of the service, and simulates until it is found.

The exit code is 1 if a mutant was not found within its time.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.simulation.mutation.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[3]
LINKED = ("sql", "tests", "pyproject.toml")
"""A copy of the service also needs these."""
SEEDS = "0:100000000"
MINUTES = 20.0
WORLDS = {
    "store/mysql/partitioning/": "retention",
    "store/mysql/": "drivers",
    "retention/": "retention",
    "broker/": "drivers",
}
"""Code of these folders runs only in some worlds."""
_failure = re.compile(r"^Seed \d+ fails: (.*)$", re.MULTILINE)
_schedules = re.compile(r"^(\d+) schedules", re.MULTILINE)


class Outcome(msgspec.Struct, frozen=True):
    """`failure` is what the simulation has found, or None."""

    mutant: str
    failure: str | None
    schedules: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutation", description=__doc__)
    parser.add_argument("--only", default="", help="only mutants with this text in their name")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="the most time for each mutant")
    options = parser.parse_args(arguments)
    outcomes = []
    for mutant in MUTANTS:
        if options.only in mutant.name:
            outcomes.append(find(mutant, options.minutes * 60.0))
            print(line_of(outcomes[-1]), flush=True)
    left = [outcome.mutant for outcome in outcomes if outcome.failure is None]
    print(f"{len(outcomes) - len(left)} of {len(outcomes)} mutants found")
    return 1 if left else 0


def line_of(outcome: Outcome) -> str:
    found = outcome.failure or "NOT FOUND"
    return f"{outcome.schedules:>7} schedules {outcome.seconds:>7.1f} s  {outcome.mutant}: {found[:160]}"


def find(mutant: Mutant, seconds: float) -> Outcome:
    """Simulate the mutant until a schedule fails, or the time is over."""
    began = time.monotonic()
    with copy_with(mutant) as folder:
        worlds = next((kind for path, kind in WORLDS.items() if mutant.path.startswith(path)), "all")
        command = [sys.executable, "-m", "tests.simulation", "--seeds", SEEDS, "--worlds", worlds]
        command += ["--seconds", str(seconds), "--no-shrink"]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    failure, schedules = _failure.search(ran.stdout), _schedules.search(ran.stdout)
    if schedules is None:
        raise RuntimeError(f"the simulation of {mutant.name!r} ended with code {ran.returncode}:\n{ran.stderr[-2000:]}")
    return Outcome(mutant.name, failure and failure[1], int(schedules[1]), time.monotonic() - began)


@contextmanager
def copy_with(mutant: Mutant) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        shutil.copytree(ROOT / "ingest", folder / "ingest")  # with compiled modules, which are still valid
        for other in LINKED:
            (folder / other).symlink_to(ROOT / other)
        path = folder / "ingest" / mutant.path
        path.write_text(mutated(mutant, path.read_text()))
        yield folder


def mutated(mutant: Mutant, source: str) -> str:
    """Raises `ValueError` if the mutant's text does not occur exactly once."""
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.path} has the text of {mutant.name!r} {source.count(mutant.old)} times, not once")
    return source.replace(mutant.old, mutant.new)


if __name__ == "__main__":
    sys.exit(main())
