"""Growth: figures from neighboring rounds."""

from bench.harness.rounds import Round
from bench.studies import growth


def round_at(per_second: float, p99_ms: float = 5.0) -> Round:
    return Round(1000, 0, per_second, 1.0, p99_ms, {"service": 60.0}, 0.1)


def test_speed_of_the_machine_cancels_between_neighboring_rounds() -> None:
    grown = [round_at(rate, p99) for rate, p99 in ((900.0, 20.0), (90.0, 200.0), (500.0, 5.0))]
    empty = [round_at(rate, p99) for rate, p99 in ((1000.0, 10.0), (100.0, 100.0), (400.0, 5.0))]

    assert (growth.faster(grown, empty), growth.slower(grown, empty)) == (0.9, 2.0)


def test_step_has_a_cell_a_column() -> None:
    step = growth.RowsStep(3_000_000, 3_100_000, 41.6, {"grown": [round_at(90.0)], "empty": [round_at(100.0)]})

    cells = growth.rows_row(step)

    assert len(cells) == len(growth.HEAD)
    assert (cells[0], cells[7], cells[9]) == ("3,000,000", "0.90", "42")


def test_workers_are_compared_with_the_first_number_of_them() -> None:
    cells = growth.workers_row(growth.WorkersStep(2, [round_at(150.0)]), [round_at(100.0)])

    assert (len(cells), cells[0], cells[-1]) == (len(growth.WORKERS_HEAD), "2", "1.50")
