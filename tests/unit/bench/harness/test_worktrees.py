"""Temporary worktrees, of a repository made for the test."""

import subprocess
from pathlib import Path

import pytest

from bench.harness.worktrees import UnknownRevision, commit_of, worktree

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.com")


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *IDENTITY, *words], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits of `file`, and an uncommitted change."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet")
    for text in ("old", "new"):
        (root / "file").write_text(text)
        git(root, "add", "file")
        git(root, "commit", "--quiet", "--message", text)
    (root / "file").write_text("changed")
    return root


def test_worktree_has_the_files_of_its_revision_and_leaves_ours_alone(repository: Path) -> None:
    with worktree(commit_of("HEAD~1", repository), repository) as tree:
        assert (tree / "file").read_text() == "old"

    assert (repository / "file").read_text() == "changed"


def test_worktree_is_gone_afterwards_also_after_an_error_and_with_files_in_it(repository: Path) -> None:
    trees = []

    def work() -> None:
        with worktree(commit_of("HEAD", repository), repository) as tree:
            trees.append(tree)
            (tree / "made.pyc").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()

    assert not trees[0].exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize("revision", ["no-such", "HEAD:file", "--all"])
def test_revision_that_is_not_a_commit_is_refused(revision: str, repository: Path) -> None:
    with pytest.raises(UnknownRevision):
        commit_of(revision, repository)
