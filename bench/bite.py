"""`make bench-bite`: a copy of the tree passes the budgets; with a known slowdown in it, it fails, by name."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
COPIED = ("ingest", "sql", "bench", "tests", "pyproject.toml")


class Slowdown(msgspec.Struct, frozen=True):
    """A change of one line of `file`, the part of the budgets that must see it, and the one it must break."""

    name: str
    file: str
    line: str
    instead: str
    part: str
    budget: str


SLOWDOWNS = (
    Slowdown(
        name="each body is decoded three times",
        file="ingest/events.py",
        line="        event = _decode_event(body)\n",
        instead="        event = [_decode_event(body) for _ in range(3)][0]\n",
        part="micro",
        budget="micro.decode",
    ),
    Slowdown(
        name="each batch's rows are assembled three times",
        file="ingest/store/mysql_statements.py",
        line="    statements = [insert_events(batch), ",
        instead="    statements = [[insert_events(batch) for _ in range(3)][0], ",
        part="micro",
        budget="micro.statement",
    ),
    Slowdown(
        name="an event's way through the endpoint costs twice as much",
        file="ingest/endpoint.py",
        line="            headers = self.admit(scope)\n",
        instead="            headers = [self.admit(scope) for _ in range(40)][0]\n",
        part="saturation",
        budget="saturation.cpu_ratio",
    ),
)


def main() -> None:
    passed = [_unmodified_passes(), *(_bites(slowdown) for slowdown in SLOWDOWNS)]
    print(f"bite: {passed.count(True)} as expected, {passed.count(False)} not")
    sys.exit(0 if all(passed) else 1)


def _unmodified_passes() -> bool:
    print("== unmodified", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return _budgets(copy(Path(folder))).returncode == 0


def _bites(slowdown: Slowdown) -> bool:
    print(f"\n== {slowdown.name} ({slowdown.file}): must break {slowdown.budget}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root = copy(Path(folder))
        apply(slowdown, root)
        done = _budgets(root, "--only", slowdown.part)
    return done.returncode == 1 and names_broken(slowdown.budget, done.stdout)


def names_broken(budget: str, output: str) -> bool:
    """Whether the output of `bench.budgets` has that budget measured and broken."""
    return f"budget broken: {budget} is " in output


def apply(slowdown: Slowdown, root: Path) -> None:
    """Raises ValueError if the line is not there just once: the code has changed, the slowdown must too."""
    file = root / slowdown.file
    before, line, after = file.read_text().partition(slowdown.line)
    if not line or slowdown.line in after:
        raise ValueError(f"{slowdown.file} does not have this just once: {slowdown.line!r}")
    file.write_text(before + slowdown.instead + after)


def copy(folder: Path) -> Path:
    """A copy of what the budgets need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    return folder


def _budgets(root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "bench.budgets", *options],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},  # before the installed package, which is the original
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    print(done.stdout, flush=True)
    return done


if __name__ == "__main__":
    main()
