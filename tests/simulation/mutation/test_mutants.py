"""Each mutant still fits the code, and is code itself."""

import ast

import pytest

from tests.simulation.mutation.__main__ import ROOT, mutated
from tests.simulation.mutation.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_changes_one_place(mutant: Mutant) -> None:
    changed = mutated(mutant, (ROOT / "ingest" / mutant.path).read_text())

    ast.parse(changed)


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 40
