"""The fuzzer's corpus, as fast tests."""

from pathlib import Path

import pytest

from tests.fuzz.checks import check_batch, check_event
from tests.fuzz.sources import check_all_sources

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus_input_is_accepted_or_refused_as_the_contract_says(path: Path) -> None:
    content = path.read_bytes()
    check_event(content)
    check_batch(content)
    check_all_sources(content)


def test_there_is_a_corpus() -> None:
    assert CORPUS
