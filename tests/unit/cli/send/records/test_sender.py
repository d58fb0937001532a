"""Records leave the folder only after the service's answer, and no record holds up the others."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ingest.cli.send.poster import SendFailed
from ingest.cli.send.records.folder import RecordFolder
from ingest.cli.send.records.sender import (
    AWAY_FAILURES,
    INCOMPLETE_SECONDS_MAX,
    PASSES_MAX,
    QUIET_SECONDS,
    RECORD_BYTES_MAX,
    RecordSender,
)
from ingest.cli.send.service import NoAnswer, Reply, Service
from tests.unit.cli.send.fakes import URL, FakeTime, reply

NOW = 2_000_000_000.0
QUEUED = reply(200, {"status": "queued"})


class ScriptedService(Service):
    """Answers by the uuid of a record; `after` runs before the client has the answer."""

    def __init__(self) -> None:
        self.url = URL
        self.answers: dict[str, Reply | None] = {}
        self.asked: list[str] = []
        self.after: Callable[[], None] = lambda: None

    def post(self, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        name = target.partition("=")[2]
        self.asked.append(name)
        self.after()
        answer = self.answers.get(name, QUEUED)
        if answer is None:
            raise NoAnswer("no answer: it is away")
        return answer


class Folder:
    """A folder of records, and senders of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = ScriptedService()
        self.time = FakeTime()
        self.said: list[str] = []

    def put(self, name: str, content: bytes = b"{}", age_seconds: float = 60, folder: str = "") -> Path:
        path = self.path / folder / f"{name}.cdr.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (NOW - age_seconds, NOW - age_seconds))
        return path

    def sender(self, *, remove: bool = False) -> RecordSender:
        folder = RecordFolder(self.path, "freeswitch", remove=remove)
        return RecordSender(folder, "freeswitch", self.service, None, self.time, self.said.append, lambda: NOW)

    def names(self, folder: str = "") -> list[str]:
        path = self.path / folder
        return sorted(one.name for one in path.iterdir() if one.is_file()) if path.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_posted_records_are_moved_oldest_first(folder: Folder) -> None:
    folder.put("new", age_seconds=10)
    folder.put("old", age_seconds=90)
    sender = folder.sender()

    sender.run()

    assert (folder.service.asked, sender.accepted) == (["old", "new"], 2)
    assert (folder.names(), folder.names("sent")) == ([], ["new.cdr.json", "old.cdr.json"])


def test_posted_record_is_removed_on_demand(folder: Folder) -> None:
    folder.put("1")

    folder.sender(remove=True).run()

    assert (folder.names(), folder.names("sent")) == ([], [])


def test_second_record_of_a_name_does_not_replace_the_first(folder: Folder) -> None:
    for content in (b'{"a":1}', b'{"a":2}'):
        folder.put("1", content)
        folder.sender().run()

    assert folder.names("sent") == ["1.cdr.json", "1.cdr.json.1"]


def test_refused_record_is_moved_with_the_reason(folder: Folder) -> None:
    folder.put("1")
    folder.put("2")
    folder.service.answers["1"] = reply(422, {"message": "The given data was invalid.", "errors": {"call_id": ["no"]}})
    sender = folder.sender()

    sender.run()

    assert (sender.accepted, sender.rejected, folder.names("sent")) == (1, 1, ["2.cdr.json"])
    assert folder.names("rejected") == ["1.cdr.json", "1.cdr.json.error"]
    reason = (folder.path / "rejected/1.cdr.json.error").read_text()
    assert reason == 'The service answered 422: The given data was invalid. {"call_id": ["no"]}\n'


@pytest.mark.parametrize(
    ("content", "age_seconds"),
    [(b"{}", QUIET_SECONDS - 1), (b'{"a":', QUIET_SECONDS + 1), (b"", QUIET_SECONDS + 1)],
    ids=["recent", "incomplete", "empty"],
)
def test_record_that_is_perhaps_being_written_is_not_touched(
    folder: Folder, content: bytes, age_seconds: float
) -> None:
    folder.put("1", content, age_seconds)
    sender = folder.sender()

    sender.run()

    assert (folder.service.asked, sender.unfinished, folder.names()) == ([], 1, ["1.cdr.json"])


def test_incomplete_record_of_a_dead_writer_is_posted_so_that_the_reason_is_known(folder: Folder) -> None:
    folder.put("1", b'{"a":', INCOMPLETE_SECONDS_MAX + 1)
    folder.service.answers["1"] = reply(400)

    folder.sender().run()

    assert folder.names("rejected") == ["1.cdr.json", "1.cdr.json.error"]


def test_record_with_a_time_in_the_future_is_posted(folder: Folder) -> None:
    folder.put("1", age_seconds=-3600)

    folder.sender().run()

    assert folder.names("sent") == ["1.cdr.json"]


def test_record_that_is_replaced_during_its_request_stays(folder: Folder) -> None:
    path = folder.put("1")

    def replace() -> None:
        path.write_bytes(b'{"a":1}')

    folder.service.after = replace

    folder.sender().run()

    assert (folder.names(), folder.names("sent")) == (["1.cdr.json"], [])


def test_nothing_is_moved_while_the_service_is_away(folder: Folder) -> None:
    for number in range(9):
        folder.put(str(number))
        folder.service.answers[str(number)] = None

    with pytest.raises(SendFailed, match="They are still there"):
        folder.sender().run()

    assert len(folder.names()) == 9
    assert (len(folder.time.pauses), len(folder.service.asked)) == (PASSES_MAX, AWAY_FAILURES * PASSES_MAX)
    assert folder.time.pauses == sorted(folder.time.pauses)
    assert len(folder.said) == 1


def test_records_are_posted_when_the_service_is_back(folder: Folder) -> None:
    folder.put("1")
    folder.service.answers["1"] = None

    def back() -> None:
        if len(folder.time.pauses) == 100:
            folder.service.answers.clear()
        folder.time.is_stopped = len(folder.time.pauses) == 102

    folder.time.step = back
    folder.sender().follow()

    assert folder.names("sent") == ["1.cdr.json"]
    assert [text[:15] for text in folder.said] == ["http://fake: no", "The service tak"]


def test_record_that_always_fails_holds_nothing_up(folder: Folder) -> None:
    for number in range(5):
        folder.put(f"bad{number}", age_seconds=100)
        folder.service.answers[f"bad{number}"] = reply(500)
    for number in range(5):
        folder.put(f"good{number}")
    passes = 0

    def step() -> None:
        nonlocal passes
        passes += 1
        folder.time.is_stopped = passes == 10

    folder.time.step = step
    folder.sender().follow()

    assert [name[:4] for name in folder.names("sent")] == ["good"] * 5
    assert [name[:3] for name in folder.names()] == ["bad"] * 5
    told = [text for text in folder.said if "bad" in text]
    assert len(told) == len(set(told)) == 5
    assert sum(text.startswith(URL) for text in folder.said) == 1


def test_answer_that_no_retry_changes_ends_the_command_and_moves_nothing(folder: Folder) -> None:
    folder.put("1")
    folder.service.answers["1"] = reply(401)

    with pytest.raises(SendFailed, match="answered 401"):
        folder.sender().run()

    assert folder.names() == ["1.cdr.json"]


def test_login_page_is_no_acceptance(folder: Folder) -> None:
    folder.put("1")
    folder.service.answers["1"] = reply(200, is_page=True)

    with pytest.raises(SendFailed):
        folder.sender().run()

    assert folder.names() == ["1.cdr.json"]


def test_new_records_are_posted_until_the_command_is_stopped(folder: Folder) -> None:
    names = iter("123")

    def step() -> None:
        if name := next(names, ""):
            folder.put(name)
        folder.time.is_stopped = not name

    folder.time.step = step
    folder.sender().follow()

    assert folder.service.asked == ["1", "2", "3"]


def test_folders_that_freeswitch_makes_with_rotate_are_read_too(folder: Folder) -> None:
    folder.put("1", folder="2026-01-31-13-45-00")
    folder.put("2", folder="other")

    folder.sender().run()

    assert folder.names("sent") == ["1.cdr.json"]


def test_huge_record_is_rejected_without_a_request(folder: Folder) -> None:
    folder.put("1", b"[" + b" " * RECORD_BYTES_MAX + b"]")

    folder.sender().run()

    assert (folder.service.asked, folder.names("rejected")[0]) == ([], "1.cdr.json")
