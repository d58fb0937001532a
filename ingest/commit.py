"""The commit that the service was made from: noted in a built package, or asked of git in a checkout.

The build hook runs this file by itself, so it imports nothing of the service. It does without `pathlib`, whose import
would take half of the time of `ingest --version`.
"""

import os

NOTE = "commit.txt"
"""The file in a built package, beside this module."""
INPUTS = ("ingest", "sql", "docs/runbooks.md", "pyproject.toml", "README.md", "LICENSE")
"""A package is built from these. Changes elsewhere do not make it another one."""
DIRTY = "-dirty"
"""Follows the commit if some input differs from it."""
SHOWN_CHARS = 12
GIT_SECONDS_MAX = 5


def commit_of(package: str) -> str:
    """Return the whole commit of an `ingest` folder, with `DIRTY` if files differ from it. Empty if it is unknown."""
    return noted(package) or asked_of_git(os.path.dirname(package))


def noted(package: str) -> str:
    """Return what the note says. Empty if there is none."""
    try:
        with open(os.path.join(package, NOTE), encoding="ascii") as note:
            return note.read().strip()
    except FileNotFoundError:
        return ""


def asked_of_git(root: str) -> str:
    """Return the commit of a checkout. Empty if `root` is none, or git is absent, too slow or refuses to answer."""
    if not os.path.exists(os.path.join(root, ".git")):
        return ""  # `root` may lie in a checkout of something else, as a venv does
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *INPUTS)
    if not commit or changes is None:
        return ""
    return f"{commit}{DIRTY if changes else ''}"


def shortened(commit: str) -> str:
    """Return the commit as people quote it."""
    digits, dash, mark = commit.partition("-")
    return f"{digits[:SHOWN_CHARS]}{dash}{mark}"


def _git(root: str, *words: str) -> str | None:
    """Return what git prints, or None if it fails."""
    import subprocess  # a built package never needs it

    # Variables such as GIT_DIR, which a hook of git sets, would name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - the words are constants
            ["git", "--no-optional-locks", "-C", root, *words],  # noqa: S607 - git is where PATH has it
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS_MAX,
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout.strip()
