"""The follower: nothing is stored twice after a kill, an outage is told once, and refused lines hold nothing up."""

import json
import os
import shutil
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ingest.cli.send.event_file import LINE_BYTES_MAX
from ingest.cli.send.follow.follower import TOO_LARGE_ERROR
from ingest.cli.send.follow.state_file import StateFile
from ingest.cli.send.poster import SendFailed
from ingest.cli.send.service import Reply
from ingest.cli.send.waiting import PAUSE_SECONDS_MAX
from tests.unit.cli.send.fakes import Killed, nothing, reply
from tests.unit.cli.send.follow.conftest import BATCH, Log, events, lines

HOUR_SECONDS = 3600


def kill() -> None:
    raise Killed


def test_batch_whose_answer_did_not_come_is_stored_once_although_the_file_has_grown(log: Log) -> None:
    log.write(*lines(1, 2))
    log.service.after = kill
    log.follow()
    log.service.after = nothing
    log.write(*lines(3, 4, 5))

    log.follow()

    assert log.service.stored == events(1, 2, 3, 4, 5)
    assert log.service.batches[0][0] == log.service.batches[1][0]


@pytest.mark.parametrize("batch", [1, 2 * BATCH])
def test_batch_of_another_size_after_a_kill_stores_nothing_twice(log: Log, batch: int) -> None:
    log.write(*lines(*range(10)))
    log.service.after = kill
    log.follow()
    log.service.after = nothing

    log.follow(batch=batch)

    assert log.service.stored == events(*range(10))
    first, again, *others = (len(items) for _, items in log.service.batches)
    assert (first, again, max(others)) == (BATCH, max(BATCH, batch), min(batch, 10 - max(BATCH, batch)))


def test_batch_of_a_file_that_was_empty_at_the_first_look_is_found_in_its_copy_after_a_kill(log: Log) -> None:
    log.write()
    log.service.after = kill
    log.follow(lambda: log.write(*lines(1, 2)))
    log.service.after = nothing
    shutil.copyfile(log.file, log.file.with_name("calls.ndjson.1"))
    os.truncate(log.file, 0)
    log.write(*lines(3))

    log.follow()

    assert log.service.stored == events(1, 2, 3)


def test_incomplete_last_line_waits_for_its_end(log: Log) -> None:
    log.write(*lines(1), b'{"number"')

    def complete() -> None:
        assert log.service.stored == events(1)
        log.write(b":2}\n")

    log.follow(nothing, complete)

    assert log.service.stored == events(1, 2)
    assert log.rejected() == ""


def test_hour_without_the_service_is_told_once_with_growing_pauses(log: Log) -> None:
    log.write(*lines(1))
    attempts: list[float] = []
    log.service.is_away = True
    log.service.before = lambda: attempts.append(log.time.seconds)

    def back() -> None:
        log.service.is_away = log.time.seconds < 1000 + HOUR_SECONDS

    log.follow(*[back] * (2 * HOUR_SECONDS + 1))

    gaps = [later - earlier for earlier, later in pairwise(attempts)]
    assert log.service.stored == events(1)
    assert gaps == sorted(gaps)
    assert max(gaps) == PAUSE_SECONDS_MAX
    assert [text[:25] for text in log.said] == ["http://fake: no answer: i", "The service takes events "]


def test_files_that_are_rotated_during_an_outage_are_sent_afterwards(log: Log) -> None:
    log.write(*lines(1))
    log.service.is_away = True

    def rotate(number: int) -> None:
        log.rename(f"calls.ndjson.{number}")
        log.write(*lines(10 - number))

    def back() -> None:
        log.service.is_away = False

    log.follow(*[lambda number=number: rotate(number) for number in (8, 7, 6, 5)], back)

    assert log.service.stored == events(1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    "answer",
    [
        reply(503),
        reply(429, wait_seconds=7),
        reply(200, {"message": "log in"}, is_page=True),
        reply(200, {"accepted": 0, "rejected": [{"index": 0, "errors": {}, "retry": True}]}),
    ],
    ids=["unavailable", "too many", "login page", "item to retry"],
)
def test_answer_that_does_not_store_the_batch_is_no_acceptance(log: Log, answer: Reply) -> None:
    log.write(*lines(1))
    log.service.answers = [answer]

    log.follow()

    assert log.service.stored == events(1)
    assert len(log.said) == 2
    assert ("first that of line 1: {}" in log.said[0]) is ("rejected" in answer.answer)


@pytest.mark.parametrize("status", [301, 401, 404])
def test_answer_that_no_retry_changes_ends_the_command(log: Log, status: int) -> None:
    log.write(*lines(1))
    log.service.answers = [reply(status)]

    with pytest.raises(SendFailed, match=f"answered {status}: no. The progress is saved"):
        log.follow()
    log.follow()

    assert log.service.stored == events(1)


def test_too_large_request_is_cut_until_the_large_line_is_found(log: Log) -> None:
    log.write(*lines(1, 2, 3, 4))
    log.service.answers = [reply(413), reply(413), reply(413)]

    log.follow(batch=4)

    assert log.service.stored == events(2, 3, 4)
    assert [(row["line"], row["errors"]) for row in rejected(log)] == [(1, {"event": [TOO_LARGE_ERROR]})]


def test_refused_lines_are_listed_and_hold_nothing_up(log: Log) -> None:
    log.write(*lines(1), b"no JSON\n", b"\xff\n", b"[]\n", *lines(2))

    log.follow(batch=10)

    assert log.service.stored == events(1, 2)
    assert [(row["line"], row["event"]) for row in rejected(log)] == [(2, "no JSON"), (3, "\ufffd"), (4, "[]")]


def test_refused_line_is_listed_once_although_its_batch_is_sent_again(log: Log) -> None:
    log.write(b"no JSON\n", *lines(1))
    log.follow()
    state = json.loads(followed(log).read_bytes())
    state["files"][0].update(offset=0, line=0, tail="")  # killed before the progress was saved
    followed(log).write_text(json.dumps(state))
    with log.file.with_name("calls.ndjson.rejected").open("ab") as file:
        file.write(b'{"file": "killed in the')

    log.follow()

    assert [row["line"] for row in rejected(log)] == [1]
    assert log.service.stored == events(1)


def test_line_number_that_is_refused_again_in_the_next_file_is_listed_again(log: Log) -> None:
    log.write(b"no JSON\n")

    def rotate() -> None:
        log.rename()
        log.write(b"no JSON either\n")

    log.follow(rotate)

    assert [row["event"] for row in rejected(log)] == ["no JSON", "no JSON either"]


def test_line_that_is_too_long_is_refused_without_its_content(log: Log) -> None:
    log.write(b"x" * (LINE_BYTES_MAX + 1))

    def end() -> None:
        assert log.rejected() == ""
        log.write(b"\n", *lines(1))

    log.follow(end)

    (row,) = rejected(log)
    assert (row["line"], len(row["event"])) == (1, 1000)
    assert log.service.stored == events(1)


def test_rest_of_a_file_that_was_sent_without_follow_is_sent(log: Log) -> None:
    log.write(*lines(1, 2))
    sent = {"file": "0" * 16, "line": 1, "bytes": 13, "digest": digest_of_first_line()}
    log.file.with_name("calls.ndjson.sent").write_text(json.dumps(sent))

    log.follow()

    assert log.service.stored == events(2)


def test_unfinished_batch_of_a_run_without_follow_is_finished_first(log: Log) -> None:
    log.write(*lines(1))
    sent = {"file": "0" * 16, "sending": 1, "sending_bytes": 13, "sending_digest": digest_of_first_line()}
    log.file.with_name("calls.ndjson.sent").write_text(json.dumps(sent))

    with pytest.raises(SendFailed, match="Run `ingest send` without --follow once"):
        log.follow()


def test_progress_is_saved_at_the_end(log: Log) -> None:
    log.write(*lines(1, 2, 3, 4))

    log.follow()

    state = StateFile(log.file).read()
    assert (log.sent, state.accepted, state.rejected, state.files[0].offset) == (4, 4, 0, log.file.stat().st_size)


def test_size_that_was_seen_is_saved_at_the_end(log: Log) -> None:
    log.write(*lines(1))
    log.follow()
    log.service.is_away = True

    log.follow(lambda: log.write(*lines(2)), seconds=1.0)

    assert StateFile(log.file).read().files[0].unsent_bytes == len(lines(2)[0])


def test_unreadable_progress_is_told(log: Log) -> None:
    log.write(*lines(1))
    followed(log).write_text("{")

    with pytest.raises(SendFailed, match=r"calls\.ndjson\.followed is not readable"):
        log.follow()


def digest_of_first_line() -> str:
    return sha256(lines(1)[0]).hexdigest()[:16]


def followed(log: Log) -> Path:
    return log.file.with_name("calls.ndjson.followed")


def rejected(log: Log) -> list[dict[str, Any]]:
    return [json.loads(row) for row in log.rejected().splitlines()]
