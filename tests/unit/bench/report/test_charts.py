"""Charts of results, in the form that the benchmarks write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import msgspec
import pytest

from bench import charts
from bench.harness.memory import Sample
from bench.harness.rounds import Round
from bench.studies import sweep
from bench.studies.growth import RowsStep
from bench.studies.soak import Backlog, Left, Soak

STAMP = {
    "machine": "a machine",
    "commit": "abc1234",
    "taken_at": "2026-01-31T12:00:00+00:00",
    "versions": {
        "python": "3.13.1",
        "python_build": "PGO and LTO; GCC 14",
        "database": "10.11-MariaDB",
        "broker": "RabbitMQ 3.10",
    },
}
NOOP = Round(1000, 0, 30_000.0, 1.0, 5.0, {"service": 30.0, "generator": 12.0}, 0.0)
FULL = Round(1000, 0, 12_000.0, 20.0, 35.0, {"service": 60.0, "database": 17.0, "broker": 30.0, "generator": 12.0}, 0.1)
CURVE = [(0.0, 0.5), (50.0, 1.0), (99.0, 4.0), (99.99, 20.0), (100.0, 25.0)]
RESULTS: Mapping[str, Any] = {
    "sweep": {
        "steps": [
            sweep.Step(connections, one_shot, {"no-op": [NOOP], "service": [FULL, FULL]})
            for connections in (1, 256)
            for one_shot in (False, True)
        ]
    },
    "saturation": {"load": {"connections": 256}, "rounds": {"no-op": [NOOP], "quorum": [FULL, FULL]}},
    "latency": {
        "measured": {
            "steps": {
                name: {"per_second": rate, "rounds": [{"latency": {"answered": 10_000}}], "curve": CURVE}
                for name, rate in (("100/s", 100.0), ("50 %", 6000.0))
            },
            "commits": {"back to back": {"rounds": [{"answered": 500}], "curve": CURVE}},
        }
    },
    "growth": {
        "buffer_pool_mib": 256,
        "rows": [RowsStep(rows, rows, 1.0, {"grown": [FULL], "empty": [FULL, FULL]}) for rows in (0, 10_000_000)],
    },
    "soak": {
        "soak": Soak(6000.0, 0, [Sample(0.0, 58.0, 44.0), Sample(1.0, 58.5, 44.2)]),
        "backlog": Backlog(1000, 0, [Sample(0.0, 58.0, 44.0)], 12.0, [Left(0.0, 1000), Left(1.0, 0)], {}),
    },
}


def written(kind: str, folder: Path) -> Path:
    file = folder / f"{kind}-mariadb.json"
    file.write_bytes(msgspec.json.encode({"stamp": STAMP, **RESULTS[kind]}))
    return file


def texts(picture: Path) -> list[str]:
    """Return all texts in the chart. Fails if it is not XML."""
    return [
        "".join(element.itertext()) for element in ElementTree.parse(picture).iter() if element.tag.endswith("text")
    ]


def test_there_is_an_example_of_each_kind() -> None:
    assert RESULTS.keys() == charts.KINDS.keys()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """All charts, drawn once, as drawing is slow."""
    folder = tmp_path_factory.mktemp("pictures")
    return {kind: charts.draw(written(kind, folder)) for kind in charts.KINDS}


@pytest.mark.parametrize("kind", charts.KINDS)
def test_chart_is_beside_its_result_and_shows_its_stamp(kind: str, pictures: Mapping[str, Path]) -> None:
    assert pictures[kind].name == f"{kind}-mariadb.svg"
    assert pictures[kind].with_suffix(".json").exists()
    shown = {line.strip() for text in texts(pictures[kind]) for line in text.splitlines()}
    assert {
        "a machine · abc1234 · 2026-01-31",
        "Python 3.13.1 (PGO and LTO) · 10.11-MariaDB · RabbitMQ 3.10",
    } <= shown


def test_chart_of_an_older_result_shows_its_python_without_a_build(tmp_path: Path) -> None:
    file = written("soak", tmp_path)
    file.write_bytes(file.read_bytes().replace(b'"python_build":"PGO and LTO; GCC 14",', b""))

    assert any("Python 3.13.1 · 10.11" in text for text in texts(charts.draw(file)))


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("sweep", ["service, kept", "service, one-shot", "no-op, kept", "no-op, one-shot"]),
        ("saturation", ["quorum", "12,000 events/s", "service", "database", "broker", "generator"]),
        ("latency", ["50 % of saturation (6,000/s)", "a single-row commit, back to back", "p99.99"]),
        ("growth", ["10", "million rows; buffer pool 256 MiB"]),
        ("soak", ["RSS", "events left (right axis)", "RabbitMQ is back"]),
    ],
)
def test_picture_names_all_that_it_shows(kind: str, labels: list[str], pictures: Mapping[str, Path]) -> None:
    assert set(labels) <= {text.strip() for text in texts(pictures[kind])}


def test_same_result_gives_the_same_bytes(pictures: Mapping[str, Path], tmp_path: Path) -> None:
    assert charts.draw(written("soak", tmp_path)).read_bytes() == pictures["soak"].read_bytes()


def test_only_results_with_a_chart_are_drawn(tmp_path: Path) -> None:
    kept = written("growth", tmp_path)
    (tmp_path / "scenario-mariadb.json").write_text("{}")

    assert charts.results(tmp_path) == [kept]


def test_result_in_another_form_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "sweep-mariadb.json"
    file.write_text(json.dumps({"stamp": STAMP, "rounds": []}))

    with pytest.raises(click.ClickException, match=r"sweep-mariadb\.json is not in the form .*'steps'"):
        charts.draw(file)
