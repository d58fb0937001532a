"""Sweep: the arguments of wrk's script, and the rows of a step."""

import pytest

from bench.harness.rounds import Round
from bench.harness.wrk import Load
from bench.studies import sweep


def round_at(per_second: float, **cpu_us: float) -> Round:
    return Round(1000, 0, per_second, 1.0, 5.0, cpu_us, 0.1)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (Load(1, 1), []),
        (Load(1, 1, one_shot=True), ["close"]),
        (Load(1, 1, random_calls=True, pause_ms=40), ["random", "pause=40"]),
    ],
)
def test_script_gets_only_options_that_differ_from_the_plain_load(load: Load, words: list[str]) -> None:
    assert load.words() == words


def test_step_has_a_row_for_each_target() -> None:
    measured = {
        sweep.NOOP: [round_at(3000.0, service=30.0)],
        sweep.SERVICE: [round_at(rate, service=60.0, database=20.0) for rate in (900.0, 1000.0, 1200.0)],
    }

    noop, service = (
        dict(zip(sweep.HEAD, cells, strict=True)) for cells in sweep.rows(sweep.Step(1024, True, measured))
    )

    assert (noop["connections"], noop["target"], noop["database"]) == ("1,024 one-shot", sweep.NOOP, "-")
    assert (service["target"], service["events/s"], service["database"]) == (
        sweep.SERVICE,
        "1,000 (900-1,200)",
        "20.0",
    )
