"""The check of plain English finds what the rules ban, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

CHECK = ROOT / ".ci" / "plain_english.py"
GOOD = "The relay publishes each entry whose lease ran out."
LONG = "The relay " + "publishes and " * 12 + "settles."
BAD = [
    (LONG, "long sentence"),
    ("Of the batch only the first event counts.", "banned opening"),
    ("Without a spool.", "banned opening"),
    ("Whoever reads the file waits.", "banned opening"),
    ("Wait so long that the lease ends.", "banned phrase"),
    ("In the database.", "fragment"),
]


def check(folder: Path, name: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run the check in a repository that holds this one file."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, cwd=folder, check=True)
    return subprocess.run([sys.executable, CHECK], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("sentence", "kind"), BAD)
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("docs/page.md", "# Title\n\n{} {}\n"),
        ("docs/page.md", "| a | {} {} |\n|---|---|\n"),
        ("ingest/part.py", 'def part() -> None:\n    """{} {}"""\n'),
        ("ingest/part.py", "# {} {}\n"),
    ],
)
def test_bad_sentence_is_found(tmp_path: Path, name: str, form: str, sentence: str, kind: str) -> None:
    ran = check(tmp_path, name, form.format(GOOD, sentence))

    assert ran.returncode == 1, ran.stderr
    assert f": {kind}: {sentence}\n" in ran.stdout


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD} What does the relay do? In stream mode the relay waits.\n",
        f"```sh\n{LONG}\n```\n",
        f"`{' '.join('abcdefghijklmnopqrstuvwxyz')}` is one word.\n",
    ],
)
def test_good_text_passes(tmp_path: Path, text: str) -> None:
    ran = check(tmp_path, "README.md", text)

    assert (ran.returncode, ran.stdout) == (0, "")


def test_long_line_of_markdown_is_found(tmp_path: Path) -> None:
    ran = check(tmp_path, "README.md", " ".join([GOOD] * 4) + "\n")

    assert ran.returncode == 1
    assert "README.md:1: long line" in ran.stdout
