"""The study of searches looks for calls that the filled table has, and compares with its neighbors."""

from hashlib import sha256

import pytest

from bench.harness.filling import insert
from bench.latency.figures import Figures
from bench.studies.reading import Window, call_id


def posts(p99_ms: float) -> Figures:
    return Figures(1, 0, 1.0, 1.0, p99_ms, p99_ms, p99_ms)


def test_calls_of_the_study_are_named_as_those_of_the_filled_table() -> None:
    mark = sha256(b"7").hexdigest()[:12]

    assert "LEFT(SHA2((0 + n) DIV 3, 256), 12)" in insert(0, 30)
    assert call_id(7).replace(mark, "MARK") in insert(0, 30)


def test_reading_window_is_compared_with_the_quiet_ones_around_it() -> None:
    window = Window(posts(1.0), before=posts(10.0), reading=posts(12.0), after=posts(20.0))

    assert window.ratio == pytest.approx(0.8)
    assert window.noise == pytest.approx(2.0)
