"""The documents: each is linked from the index, each link resolves, and each answer of the exam exists."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import DOCS, ROOT
from tests.unit.project.test_imports import LAYERS

_listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
FILES = [ROOT / name for name in _listed.splitlines() if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]
DOCUMENTS = [file for file in FILES if file.suffix == ".md"]
PICTURES = (".png", ".svg")
CLIENTS = ("asterisk", "freeswitch", "kamailio", "opensips")
IN_THEIR_FOLDER = ("docs/consumers/", "docs/kubernetes/", *(f"docs/clients/{name}/" for name in CLIENTS))
"""The pages beside these folders name their files."""
ARCHITECTURE = (DOCS / "architecture.md").read_text("utf-8")
QUESTIONS_MIN = 20


def prose(document: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(document: Path) -> list[str]:
    """Relative targets of links and pictures."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(document)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings; a repeated one gets a number."""
    seen: Counter[str] = Counter()
    made = set()
    for heading in re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        made.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return made


def broken(document: Path) -> Iterator[str]:
    for link in links(document):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_relative_link_resolves(document: Path) -> None:
    assert list(broken(document)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# A part\n[a](#a-part) [b](#another) [c](page.md#a-part) [d](gone.md) [e](https://example.com)\n"
    )

    assert list(broken(document)) == ["#another", "gone.md"]


def test_every_document_is_linked_from_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    in_docs = [file for file in FILES if file.is_relative_to(DOCS) and file.suffix not in PICTURES]
    expected = [file for file in in_docs if not str(file.relative_to(ROOT)).startswith(IN_THEIR_FOLDER)]

    assert [file.name for file in [*expected, DOCS / "kubernetes/README.md"] if file not in {*linked, index}] == []


def test_every_picture_is_shown_by_a_document() -> None:
    shown = {(document.parent / link).resolve() for document in DOCUMENTS for link in links(document)}
    pictures = [file for file in FILES if file.is_relative_to(DOCS) and file.suffix in PICTURES]

    assert [file.name for file in pictures if file not in shown] == []


def rows(heading: str) -> list[list[str]]:
    """The cells of the architecture's tables below a heading, without their heads."""
    section = ARCHITECTURE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    return [cells for line in lines if "`" in line and (cells := line.split(" | "))]


def names_defined_in(file: Path) -> set[str]:
    """Classes, functions and constants."""
    tree = ast.parse(file.read_text("utf-8"))
    defined = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in ast.walk(tree) if isinstance(node, defined)}
    targets = [
        node.targets[0] if isinstance(node, ast.Assign) else node.target
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    return names | {target.id for target in targets if isinstance(target, ast.Name)}


def references_to_tests(document: Path) -> list[tuple[str, str]]:
    """The files and the names of tests, as in `tests/unit/test_it.py::test_that`."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text("utf-8"))


NAMED_TESTS = sorted({named for document in DOCUMENTS for named in references_to_tests(document)})


@pytest.mark.parametrize(("file", "name"), NAMED_TESTS)
def test_a_test_that_a_document_names_exists(file: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in names_defined_in(ROOT / file)


def test_every_promise_of_streams_names_its_test() -> None:
    section = (DOCS / "ordering.md").read_text("utf-8").partition("## Promises")[2].partition("\n## ")[0]
    promises = [line for line in section.splitlines() if line.startswith("| ")]
    assert [line for line in promises[1:] if "::test_" not in line and not line.endswith("| the same |")] == []


def test_the_exam_has_its_questions() -> None:
    assert len({question for question, *_ in rows("The exam")}) >= QUESTIONS_MIN


@pytest.mark.parametrize(("question", "file", "name"), rows("The exam"))
def test_the_answer_of_the_exam_exists(question: str, file: str, name: str) -> None:
    assert question.endswith("?")
    assert name.strip("`") in names_defined_in(ROOT / file.strip("`"))


@pytest.mark.parametrize(("file", "sentence"), rows("The path of an event"))
def test_the_file_of_the_path_exists_and_defines_its_part(file: str, sentence: str) -> None:
    part = re.findall(r"`(\w+)`", sentence)[0]

    assert part in names_defined_in(ROOT / "ingest" / file.strip("`"))


def test_the_layers_are_those_of_the_imports() -> None:
    assert tuple(layer.strip("`") for layer, _ in rows("Layers")) == LAYERS


def test_every_table_is_described() -> None:
    schema = (ROOT / "sql/mysql/schema.sql").read_text("utf-8")
    made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", schema)) | {"ingest_migrations"}

    assert {table.strip("`") for table, _ in rows("The tables")} == made


def test_every_file_that_the_architecture_names_exists() -> None:
    named = re.findall(r"`((?:ingest|tests|sql|docs|observability)/[\w./]*)`", ARCHITECTURE)

    assert [name for name in named if not (ROOT / name).exists()] == []
