"""The log's last warnings and errors, for the status page."""

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ingest.status.recent_errors import ERRORS_MAX, TEXT_MAX, RecentErrors
from ingest.status.snapshot import Error

log = logging.getLogger("ingest.tests.errors")


@pytest.fixture
def errors(tmp_path: Path) -> Iterator[RecentErrors]:
    handler = RecentErrors(tmp_path, 0)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


def test_warnings_and_errors_are_kept_the_latest_first(errors: RecentErrors) -> None:
    log.info("nothing of note")
    log.warning("away", extra={"reason": "no route"})
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("failed")

    assert [(one.level, one.text) for one in errors.of_all()] == [
        ("error", "failed: ValueError: odd"),
        ("warning", "away: no route"),
    ]


def test_texts_are_masked_as_in_the_log(errors: RecentErrors) -> None:
    log.warning("call of +15551230001 to amqp://ingest:secret@host/", extra={"reason": '{"call_id": "a"}'})

    (error,) = errors.of_all()
    assert error.text == "call of ***01 to amqp://ingest:***@host/: {…}"


def test_neither_their_number_nor_their_length_grows(errors: RecentErrors, tmp_path: Path) -> None:
    for number in range(100):
        log.error("%d " + "x" * 1000, number)
    errors.save()

    kept = RecentErrors(tmp_path, 1).of_all()
    assert len(kept) == ERRORS_MAX
    assert kept[0].text.startswith("99 ")
    assert len(kept[0].text) == TEXT_MAX


def test_errors_of_all_workers_are_shown_and_a_successor_continues(errors: RecentErrors, tmp_path: Path) -> None:
    log.error("of the first")
    errors.save()

    assert [(one.text, one.worker) for one in RecentErrors(tmp_path, 1).of_all()] == [("of the first", 0)]
    assert [one.text for one in RecentErrors(tmp_path, 0).of_all()] == ["of the first"]


@pytest.mark.parametrize("content", [b"{", b'[{"text": "\xff"}]'])
def test_file_that_cannot_be_read_is_no_error(tmp_path: Path, content: bytes) -> None:
    for worker_index in (0, 1):
        (tmp_path / f"{worker_index}.errors").write_bytes(content)

    assert RecentErrors(tmp_path, 0).of_all() == []


def of_workers(folder: Path, *found: tuple[int, float, str]) -> list[tuple[float, str, list[int]]]:
    """Write errors of workers (worker, time, text). Return how the worker 0 shows them."""
    for worker in {worker for worker, _, _ in found}:
        errors = [Error(time, "warning", "ingest.tests", text, one) for one, time, text in found if one == worker]
        (folder / f"{worker}.errors").write_bytes(msgspec.json.encode(errors))
    return [(error.time, error.text, error.workers) for error in RecentErrors(folder, 0).of_all()]


def test_what_several_workers_logged_is_shown_once(tmp_path: Path) -> None:
    found = of_workers(tmp_path, (0, 10.0, "away"), (2, 12.0, "away"), (1, 11.0, "away"), (1, 10.5, "full"))

    assert found == [(12.0, "away", [0, 1, 2]), (10.5, "full", [1])]


def test_later_outage_and_a_repeated_error_are_shown_again(tmp_path: Path) -> None:
    found = of_workers(tmp_path, (0, 10.0, "away"), (1, 11.0, "away"), (0, 900.0, "away"), (1, 901.0, "away"))
    assert found == [(901.0, "away", [0, 1]), (11.0, "away", [0, 1])]

    assert of_workers(tmp_path, (0, 10.0, "odd"), (0, 11.0, "odd"), (1, 1.0, "x")) == [
        (11.0, "odd", [0]),
        (10.0, "odd", [0]),
        (1.0, "x", [1]),
    ]
