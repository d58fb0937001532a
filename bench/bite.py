"""`make bench-bite`: checks that the budgets find known slowdowns.

A copy of the tree must pass the budgets. A copy with a known slowdown must break the named budget.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.paths import ROOT
from bench.slowdowns import SLOWDOWNS, Slowdown, apply

COMPARED = ("--rounds", "6", "--seconds", "1")
"""Short rounds are enough, as the slowdown is large."""
COPIED = ("ingest", "sql", "bench", "tests", "pyproject.toml")


def main() -> None:
    passed = [_unmodified_passes(), *(_bites(slowdown) for slowdown in SLOWDOWNS), _compare_bites()]
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


def _compare_bites() -> bool:
    slowdown = next(slowdown for slowdown in SLOWDOWNS if slowdown.budget == "saturation.direct_ratio")
    print(f"\n== {slowdown.name}: bench.compare must call it slower than HEAD", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root = copy(Path(folder))
        apply(slowdown, root)
        options = ["--head", str(root), *COMPARED, "--out", str(Path(folder, "compare.json"))]
        done = _run(ROOT, "bench.compare", "HEAD", *options)
    return done.returncode == 1 and "slower: service CPU" in done.stdout


def names_broken(budget: str, output: str) -> bool:
    """Return True if the output of `bench.budgets` says that this budget was measured and is broken."""
    return f"budget broken: {budget} is " in output


def copy(folder: Path) -> Path:
    """Copy the files that the budgets need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    return folder


def _budgets(root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return _run(root, "bench.budgets", *options)


def _run(root: Path, module: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the module's code of the tree `root`."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
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
