"""`ingest send` against the real service: files of both kinds, interruptions, and what is refused."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.send import TRIES_MAX, Poster, SendFailed
from tests.integration.hostile import count_of
from tests.running import EVENT, TOKEN, ServiceProcess
from tests.services import free_port

EVENTS = 1234


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("send")) as running:
        yield running


def send(file: Path, port: int, *options: str, token: str = TOKEN) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ingest", "send", str(file), "--url", f"http://127.0.0.1:{port}", *options]
    environment = {**os.environ, "CALL_EVENTS_TOKEN": token}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def events(call_id: str, count: int = EVENTS) -> list[dict[str, object]]:
    return [{**EVENT, "call_id": call_id, "number": number} for number in range(count)]


def ndjson(file: Path, of: list[dict[str, object]]) -> Path:
    file.write_text("\n".join(map(json.dumps, of)) + "\n\n")
    return file


def test_file_of_json_lines_is_sent_once(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", events("json"))

    first, again = (send(file, service.port) for _ in range(2))

    assert (first.returncode, first.stdout.partition(";")[0]) == (0, f"{EVENTS} accepted, 0 rejected")
    assert (again.returncode, again.stdout.partition(",")[0]) == (0, f"{EVENTS} accepted")
    assert "; 0 of them now" in again.stdout
    assert count_of(service, "json") == EVENTS


def test_what_was_sent_and_not_noted_is_not_stored_twice(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", events("killed"))
    send(file, service.port)
    state = json.loads((tmp_path / "day.ndjson.sent").read_text())
    (tmp_path / "day.ndjson.sent").write_text(json.dumps({**state, "line": 500, "accepted": 500}))

    again = send(file, service.port)

    assert again.stdout.startswith(f"{EVENTS} accepted, 0 rejected; {EVENTS - 500} of them now")
    assert count_of(service, "killed") == EVENTS


def test_csv_has_its_fields_in_the_first_row(service: ServiceProcess, tmp_path: Path) -> None:
    file = tmp_path / "day.CSV"
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*EVENT, "duration", "note"])
        writer.writerow(
            [*{**EVENT, "call_id": "csv", "event_type": "call_ended"}.values(), "7", 'two\nlines, "quoted"']
        )
        writer.writerow([*{**EVENT, "call_id": "csv"}.values(), "", ""])

    done = send(file, service.port)

    assert done.stdout.startswith("2 accepted, 0 rejected"), done.stderr
    assert count_of(service, "csv") == 2


def test_refused_events_are_kept_with_line_and_errors(service: ServiceProcess, tmp_path: Path) -> None:
    made = events("some", 10)
    del made[3]["from_number"]
    file = ndjson(tmp_path / "day.ndjson", made)
    file.write_text(file.read_text() + "{\n")

    done = send(file, service.port, "--batch", "4")

    assert (done.returncode, done.stdout.partition(";")[0]) == (1, "9 accepted, 2 rejected")
    rejected = [json.loads(line) for line in (tmp_path / "day.ndjson.rejected").read_text().splitlines()]
    assert [item["line"] for item in rejected] == [4, 12]
    assert rejected[0]["errors"] == {"from_number": ["The from number field is required."]}
    assert json.loads(rejected[0]["event"]) == made[3]


def test_rate_is_kept(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", events("slowly", 20))

    done = send(file, service.port, "--rate", "20", "--batch", "5")

    assert int(done.stdout.split(", ")[-1].split()[0]) <= 21


def test_what_cannot_be_sent_is_said(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", events("never", 1))

    refused = send(file, service.port, token="wrong")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The service answered 401: Unauthenticated." in refused.stderr
    assert "is not of the form" in send(file, service.port, "--url", "localhost:8000").stderr
    file.with_name("day.ndjson.sent").write_text('{"file":"another"}')
    assert "has changed since it was sent" in send(file, service.port).stderr
    file.with_name("day.ndjson.sent").write_text("{")
    assert "is not readable" in send(file, service.port).stderr
    assert count_of(service, "never") == 0


def test_service_that_is_away_is_waited_for_and_told(tmp_path: Path) -> None:
    pauses: list[float] = []
    poster = Poster(f"http://127.0.0.1:{free_port()}", TOKEN, pauses.append)

    with pytest.raises(SendFailed, match=r"no answer: .* refused. What was sent is remembered"):
        poster.post([b"{}"], "key")

    assert len(pauses) == TRIES_MAX
    assert pauses == sorted(pauses)
