"""The version as `ingest --version` prints it."""

import os

from ingest import __version__
from ingest.commit import commit_of, shortened


def version_line() -> str:
    """Name the version, and the commit if it is known."""
    commit = commit_of(os.path.dirname(__file__))
    return f"ingest, version {__version__}" + (f" (commit {shortened(commit)})" if commit else "")
