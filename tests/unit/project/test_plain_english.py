"""The check of plain English finds what the rules ban, and nothing else."""

import subprocess
import sys
from collections.abc import Mapping
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


PLACES = [
    ("docs/page{}.md", "# Title\n\n{} {}\n"),
    ("docs/table{}.md", "| a | {} {} |\n|---|---|\n"),
    ("ingest/part{}.py", 'def part() -> None:\n    """{} {}"""\n'),
    ("ingest/comment{}.py", "# {} {}\n"),
]
"""Files, and the form of the text in them."""

Found = subprocess.CompletedProcess[str]


def check(folder: Path, texts: Mapping[str, str]) -> Found:
    """Run the check in a repository that holds these files."""
    for name, text in texts.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, cwd=folder, check=True)
    return subprocess.run([sys.executable, CHECK], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The check of all bad sentences at once, each in files of its own, as each check starts three programs."""
    texts = {
        name.format(number): form.format(GOOD, sentence)
        for number, (sentence, _) in enumerate(BAD)
        for name, form in PLACES
    }
    return check(tmp_path_factory.mktemp("repository"), texts)


@pytest.mark.parametrize("number", range(len(BAD)))
@pytest.mark.parametrize("name", [name for name, _ in PLACES])
def test_bad_sentence_is_found(found: Found, name: str, number: int) -> None:
    sentence, kind = BAD[number]
    lines = [line for line in found.stdout.splitlines() if line.startswith(f"{name.format(number)}:")]

    assert found.returncode == 1, found.stderr
    assert f"{kind}: {sentence}" in [line.partition(": ")[2] for line in lines]


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD} What does the relay do? In stream mode the relay waits.\n",
        f"```sh\n{LONG}\n```\n",
        f"`{' '.join('abcdefghijklmnopqrstuvwxyz')}` is one word.\n",
    ],
)
def test_good_text_passes(tmp_path: Path, text: str) -> None:
    ran = check(tmp_path, {"README.md": text})

    assert (ran.returncode, ran.stdout) == (0, "")


def test_long_line_of_markdown_is_found(tmp_path: Path) -> None:
    ran = check(tmp_path, {"README.md": " ".join([GOOD] * 4) + "\n"})

    assert ran.returncode == 1
    assert "README.md:1: long line" in ran.stdout
