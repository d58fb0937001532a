"""Rotated files are finished, missing ones are told and found again, and copies are not sent twice."""

import os
import shutil
from pathlib import Path

import pytest

from ingest.cli.send.event_file import LINE_BYTES_MAX
from ingest.cli.send.follow.state_file import DONE_MAX, StateFile
from tests.unit.cli.send.fakes import nothing
from tests.unit.cli.send.follow.conftest import BATCH, Log, events, lines

LONG_BYTES = 5000


def test_renamed_file_is_finished_before_the_new_one(log: Log) -> None:
    log.write(*lines(1))

    def rotate() -> None:
        log.write(*lines(2))
        log.rename()
        log.write(*lines(3))

    log.follow(rotate)

    assert log.service.stored == events(1, 2, 3)


@pytest.mark.parametrize("name", ["calls.ndjson.1", "calls-20260131.ndjson", "moved"])
def test_renamed_file_is_finished_by_the_next_run(log: Log, name: str) -> None:
    log.write(*lines(1))
    log.follow()
    log.write(*lines(2))
    log.rename(name)
    log.write(*lines(3))

    log.follow()

    assert log.service.stored == events(1, 2, 3)
    assert log.said == []


@pytest.mark.parametrize("name", ["calls.ndjson.{}", "calls-2026013{}.ndjson", "calls.ndjson-2026-01-3{}T13:45"])
@pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 2, 1)])
def test_files_that_no_run_has_seen_are_sent_in_their_order(log: Log, name: str, numbers: tuple[int, ...]) -> None:
    log.write(*lines(1))
    log.follow()
    for line, number in enumerate(numbers, 2):
        written_at(log.rename(name.format(number)), line)
        log.write(*lines(line))

    log.follow()

    assert log.service.stored == events(1, 2, 3, 4)


def test_files_that_were_rotated_before_the_first_run_are_not_sent(log: Log) -> None:
    log.write(*lines(1))
    written_at(log.rename(), -1)
    log.write(*lines(2))

    log.follow()

    assert log.service.stored == events(2)


def test_truncated_file_is_finished_in_its_copy(log: Log) -> None:
    log.write(*lines(1))

    def rotate() -> None:
        log.write(*lines(2))
        truncate(log)
        log.write(*lines(3, 4, 5))

    log.follow(rotate)

    assert log.service.stored == events(1, 2, 3, 4, 5)
    assert log.said == []


def test_truncation_is_noticed_although_the_file_is_as_long_as_before(log: Log) -> None:
    log.write(*lines(1, 2))
    log.follow()
    truncate(log)
    log.write(*lines(3, 4))

    log.follow()

    assert log.service.stored == events(1, 2, 3, 4)


def test_zeros_of_a_writer_that_does_not_append_are_skipped(log: Log) -> None:
    log.write(*lines(1, 2))

    def rotate() -> None:
        size = log.file.stat().st_size
        truncate(log)
        with log.file.open("r+b") as file:
            file.seek(size)
            file.write(lines(3)[0])

    log.follow(rotate)

    assert log.service.stored == events(1, 2, 3)


def test_hole_larger_than_a_request_is_skipped(log: Log) -> None:
    with log.file.open("wb") as file:
        file.seek(LINE_BYTES_MAX + (3 << 20))
        file.write(lines(1)[0])

    log.follow()

    assert log.service.stored == events(1)


def test_file_that_is_gone_is_told_with_its_unsent_bytes(log: Log) -> None:
    log.write(*lines(1))
    log.follow()

    def lose() -> None:
        log.service.is_away = True
        log.write(*lines(2, 3))

    log.follow(lose)
    log.service.is_away = False
    log.file.unlink()
    log.file.with_name("calls.ndjson.1.gz").write_bytes(b"compressed")
    log.write(*lines(4))
    log.follow()
    log.follow()

    (told, again) = [text for text in log.said if "is gone" in text]
    assert "sent up to byte 13, is gone or was truncated. At least 26 bytes of it are not sent." in told
    assert "Perhaps it is one of calls.ndjson.1.gz." in told
    assert again == told  # once in each run
    assert log.service.stored == events(1, 4)


def test_file_that_comes_back_is_sent_to_its_end(log: Log, tmp_path: Path) -> None:
    log.write(*lines(1))
    log.follow()
    log.write(*lines(2))
    elsewhere = tmp_path.parent / f"{tmp_path.name}.kept"
    shutil.copyfile(log.file, elsewhere)
    log.file.unlink()
    log.write(*lines(3))
    log.follow()

    def put_back() -> None:
        elsewhere.rename(tmp_path / "unpacked")

    log.follow(*[nothing] * 30, put_back)

    assert log.service.stored == events(1, 3, 2)
    assert "the missing file is there again, and is sent from byte 13 on" in log.said[-1]


def test_reused_inode_is_no_evidence(log: Log) -> None:
    log.write(*lines(1))
    log.follow()
    log.file.write_bytes(lines(2)[0] + lines(3)[0])  # the same inode with another content

    log.follow()

    assert log.service.stored == events(1, 2, 3)
    assert "All bytes that it had at the last look are sent" in log.said[0]


@pytest.mark.parametrize("is_running", [True, False])
def test_file_that_a_crash_has_cut_goes_on_at_its_end(log: Log, is_running: bool) -> None:
    log.write(*long_lines(1, 2, 3))

    def crash() -> None:
        os.truncate(log.file, 2 * LONG_BYTES)

    if is_running:
        log.follow(crash)
    else:
        log.follow()
        crash()
    log.follow(lambda: log.write(*lines(4)))

    assert log.service.stored == [line.strip() for line in long_lines(1, 2, 3) + lines(4)]
    (told,) = log.said
    assert f"which was sent up to byte {3 * LONG_BYTES}, has lost content before it. " in told
    assert f"The command goes on at byte {2 * LONG_BYTES}:" in told


def test_file_that_a_crash_has_cut_and_that_has_grown_since_goes_on_at_an_earlier_batch(log: Log) -> None:
    log.write(*long_lines(*range(3 * BATCH)))
    log.follow()
    os.truncate(log.file, (2 * BATCH + 1) * LONG_BYTES)
    log.write(*long_lines(*range(90, 95)))

    log.follow()

    assert log.service.stored[3 * BATCH :] == [line.strip() for line in long_lines(2 * BATCH, *range(90, 95))]
    assert f"The command goes on at byte {2 * BATCH * LONG_BYTES}:" in log.said[0]


def test_copy_of_a_file_is_not_sent(log: Log) -> None:
    log.write(*lines(1))
    log.follow()

    def copy() -> None:
        shutil.copyfile(log.file, log.file.with_name("calls.ndjson.0"))

    log.follow(copy)
    log.rename("calls.ndjson.1")
    shutil.copyfile(log.file.with_name("calls.ndjson.1"), log.file.with_name("calls.ndjson.2"))
    log.write(*lines(2))
    log.follow()

    assert log.service.stored == events(1, 2)


def test_file_that_a_program_replaces_by_a_copy_goes_on(log: Log) -> None:
    log.write(*lines(1))

    def edit() -> None:
        shutil.copyfile(log.file, log.file.with_name("draft"))
        log.file.with_name("draft").rename(log.file)
        log.write(*lines(2))

    log.follow(edit)

    assert log.service.stored == events(1, 2)


def test_last_line_without_an_end_is_sent_when_the_writer_has_left_the_file(log: Log) -> None:
    log.write(*lines(1), b'{"number":2}')

    def rotate() -> None:
        assert log.service.stored == events(1)
        log.rename()
        log.write(*lines(3))

    log.follow(rotate)

    assert log.service.stored == events(1, 3, 2)


def test_line_that_is_late_in_a_rotated_file_is_sent(log: Log) -> None:
    log.write(*lines(1))
    late = log.rename()
    log.write(*lines(2))
    log.follow()
    log.follow()

    def write_late() -> None:
        with late.open("ab") as file:
            file.write(lines(3)[0])

    log.write(*lines(4))
    log.follow(write_late)

    assert log.service.stored == events(2, 4, 3)


def test_file_may_be_missing_at_first(log: Log) -> None:
    log.follow(lambda: log.write(*lines(1)))

    assert log.service.stored == events(1)


def test_many_files_are_rotated_one_after_the_other(log: Log) -> None:
    count = DONE_MAX + 8
    log.write(*lines(0))
    for number in range(1, count):
        log.follow()
        log.rename(f"calls.ndjson.{number}")
        log.write(*lines(number))
    log.follow()
    log.follow()

    state = StateFile(log.file).read()
    assert log.service.stored == events(*range(count))
    assert (len(state.done), len(state.files)) == (DONE_MAX, 1)


def test_symbolic_link_may_be_set_to_the_next_file(log: Log, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    targets = [tmp_path / "logs" / f"calls-{number}.ndjson" for number in (1, 2)]
    targets[0].write_bytes(lines(1)[0])
    log.file.symlink_to(targets[0])
    log.follow()

    def switch() -> None:
        with targets[0].open("ab") as file:
            file.write(lines(9)[0])
        targets[1].write_bytes(lines(2)[0])
        log.file.unlink()
        log.file.symlink_to(targets[1])

    log.follow(switch)

    assert log.service.stored == events(1, 9, 2)


def long_lines(*numbers: int) -> list[bytes]:
    return [b'{"number":"%0*d"}\n' % (LONG_BYTES - 14, number) for number in numbers]


def truncate(log: Log) -> None:
    shutil.copyfile(log.file, log.file.with_name("calls.ndjson.1"))
    os.truncate(log.file, 0)


def written_at(path: Path, seconds: int) -> None:
    """Set the time of the last write, relative to the file's own."""
    ns = path.stat().st_mtime_ns + seconds * 1_000_000
    os.utime(path, ns=(ns, ns))
