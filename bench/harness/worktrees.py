"""Checks out a revision of this repository in a temporary worktree."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.paths import ROOT


class UnknownRevision(Exception):
    """The repository has no such revision; the text is git's message."""


def commit_of(revision: str, root: Path = ROOT) -> str:
    """Return the full id of the commit. Raises `UnknownRevision`."""
    done = _git(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}", check=False)
    if done.returncode:
        raise UnknownRevision(f"{revision}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def worktree(commit: str, root: Path = ROOT) -> Iterator[Path]:
    """Check out the commit in a temporary folder. Remove the folder, and git's record of it, afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        try:
            _git(root, "worktree", "add", "--quiet", "--detach", str(tree), commit)
            yield tree
        finally:
            _git(root, "worktree", "remove", "--force", str(tree), check=False)


def _git(root: Path, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *words], cwd=root, check=check, capture_output=True, text=True)
