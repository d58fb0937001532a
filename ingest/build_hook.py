"""Hooks that Hatchling calls when it builds a package. No package has this module.

They note the commit in the package, and make its description of the README.
"""

import os
import re
import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

COMMIT = "CALL_EVENTS_COMMIT"
"""The variable that gives the commit where the sources have no git, as in the build of an image."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?(?:-dirty)?")
_PICTURE = re.compile(r"^!\[[^]]*\]\((?!https?:)[^)]*\)\n+", re.MULTILINE)
_LINK = re.compile(r"\[([^]]+)\]\((?!https?:|#)[^)]*\)")
"""A link to another file of the checkout."""


class NoteCommit(BuildHookInterface[Any]):
    """Writes the commit into wheel and sdist. An sdist has it already, so a wheel made of it has the same."""

    _folder = ""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raises `ValueError` if the variable `COMMIT` names none. An unknown commit is left out."""
        if version == "editable":
            return
        package = Path(self.root, "ingest")
        finder = runpy.run_path(str(package / "commit.py"))
        note: str = finder["NOTE"]
        commit: str = finder["noted"](str(package)) or _given() or finder["asked_of_git"](self.root)
        if commit:
            self._folder = tempfile.mkdtemp()
            written = Path(self._folder, note)
            written.write_text(f"{commit}\n", "ascii")
            # Not one of the folder's own files, also in an sdist: a wheel has them in another order.
            build_data["force_include"][str(written)] = f"ingest/{note}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._folder:
            shutil.rmtree(self._folder)


class DescribePackage(MetadataHookInterface):
    """Makes the description of the README."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text("utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": described(text)}


def described(readme: str) -> str:
    """Return the README without pictures and links of the checkout, which an index cannot show. The words stay."""
    return _LINK.sub(r"\1", _PICTURE.sub("", readme))


def _given() -> str:
    commit = os.environ.get(COMMIT, "")
    if commit and not _COMMIT.fullmatch(commit):
        raise ValueError(f"{COMMIT}={commit} is no commit: give all 40 digits of `git rev-parse HEAD`.")
    return commit


def get_build_hook() -> type[NoteCommit]:
    """Hatchling calls this."""
    return NoteCommit


def get_metadata_hook() -> type[DescribePackage]:
    """Hatchling calls this."""
    return DescribePackage
