"""Every fenced block of the documents is executed, parsed, or exempt with a reason."""

import ast
import re
from collections import Counter
from pathlib import Path

import click
import pytest

from tests.documents import block, blocks, blocks_of, inline_code
from tests.documents.parsers import PARSERS, ingest_names, make
from tests.documents.proofs import EXECUTED, EXEMPT, PARSED, PROOFS, Proof, proofs_of
from tests.paths import ROOT

EXEMPT_MAX = 4


def test_every_block_is_listed_once() -> None:
    """`make blocks` prints the list. A new block needs a row in tests/documents/proofs.py."""
    wrong = [f"{one.document}:{one.line} {one.first}" for one in blocks() if len(proofs_of(one)) != 1]
    assert wrong == []


def test_every_row_has_its_block() -> None:
    assert [proof for proof in PROOFS if not any(proof in proofs_of(one) for one in blocks())] == []
    found = Counter(proof for one in blocks() for proof in proofs_of(one))
    assert [proof for proof, count in found.items() if count > 1] == []


def test_a_new_block_is_found_wherever_it_stands() -> None:
    text = "# A\n\n- item\n\n  ```sh\n  ingest new\n  ```\n\n~~~yaml\na: 1\n~~~\n\n    indented\n"
    found = list(blocks_of("README.md", text))

    assert [(one.line, one.language, one.first) for one in found] == [
        (5, "sh", "ingest new"),
        (9, "yaml", "a: 1"),
        (13, "", "indented"),
    ]
    assert [proofs_of(one) for one in found] == [[], [], []]


def test_exempt_blocks_are_few_and_no_code() -> None:
    exempt = [proof for proof in PROOFS if proof.how == EXEMPT]
    assert len(exempt) <= EXEMPT_MAX
    assert {block(proof.document, proof.first).language for proof in exempt} == {""}


@pytest.mark.parametrize("proof", [proof for proof in PROOFS if proof.how == EXECUTED], ids=lambda proof: proof.first)
def test_the_test_that_executes_the_block_exists(proof: Proof) -> None:
    file, _, name = proof.by.partition("::")
    source = (ROOT / file).read_text("utf-8")
    functions = {
        node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert name in functions
    assert Path(proof.document).name in source


@pytest.mark.parametrize("proof", [proof for proof in PROOFS if proof.how == PARSED], ids=lambda proof: proof.first)
def test_the_block_is_parsed(proof: Proof) -> None:
    PARSERS[proof.by](block(proof.document, proof.first).text)


@pytest.mark.parametrize(
    "command", sorted({text for _, text in inline_code() if re.match(r"(\.venv/bin/)?ingest ", text)})
)
def test_a_command_in_prose_exists(command: str) -> None:
    ingest_names(command)


def test_a_target_in_prose_exists() -> None:
    make("\n".join({text.partition("<")[0] for _, text in inline_code() if text.startswith("make ")}))


def test_a_wrong_command_in_prose_is_found() -> None:
    for wrong in ("ingest nothing", "ingest spool nothing", "ingest retention --nothing"):
        with pytest.raises((click.UsageError, AssertionError)):
            ingest_names(wrong)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("console", "$ export TOKEN=…\n$ ingest tail --keep\n{}"),
        ("github", "on: [push]\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: ingest doctor > report\n"),
        ("gitlab", "check:\n  script:\n    - ingest doctor\n"),
        ("settings", '# a comment\nINGEST_PORT=8000\nINGEST_QUEUE="call events"\n'),
    ],
)
def test_a_right_block_is_taken(parser: str, text: str) -> None:
    PARSERS[parser](text)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("make", "make no-such-target"),
        ("ingest", "ingest tail --no-such-option"),
        ("ingest", "ingest no-such-command"),
        ("ingest", "ingest tail --limit 0"),
        ("settings", "INGEST_NO_SUCH_SETTING=1"),
        ("settings", "INGEST_STREAM_PARTITIONS=none"),
        ("console", "$ ingest no-such-command\nits output"),
        ("github", "on: [push]\njobs: {a: {runs-on: x, steps: [{runs: make}]}}"),
        ("gitlab", "check: {script: 5}"),
        ("compose", "docker compose exec nobody sh"),
        ("locust", "BENCH_TOKEN=x locust -f bench/scenarios/none.py"),
        ("kubectl", "kubectl apply -k docs"),
        ("adapter", "rules: [{seriesQuery: 'none{}', resources: {}, metricsQuery: ''}]"),
        ("tracing", "pip install 'call-events-ingest[none]'\nexport INGEST_TRACING=otlp\ningest serve"),
        ("yaml", "a: ["),
    ],
)
def test_a_wrong_block_is_refused(parser: str, text: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - each parser has errors of its own
        PARSERS[parser](text)
