"""`ingest send` with the real service: both kinds of files, interruptions, and refused events."""

import csv
import fcntl
import json
import os
import subprocess
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ingest.cli.send.poster import TRIES_MAX, Poster, SendFailed
from ingest.cli.shell.service_url import Target
from tests.commands.forked import run_ingest
from tests.integration.hostile import count_of
from tests.running import EVENT, TOKEN, ServiceProcess
from tests.services import free_port

EVENTS = 1234


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("send")) as running:
        yield running


def send(file: Path, port: int, *options: str, token: str = TOKEN) -> "subprocess.CompletedProcess[str]":
    words = ["send", str(file), "--url", f"http://127.0.0.1:{port}", *options]
    return run_ingest(words, {**os.environ, "CALL_EVENTS_TOKEN": token})


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


def test_batch_that_was_sent_but_not_saved_is_not_stored_twice(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", events("killed"))
    send(file, service.port)
    state = json.loads((tmp_path / "day.ndjson.sent").read_text())
    (tmp_path / "day.ndjson.sent").write_text(json.dumps({**state, "line": 500, "accepted": 500}))

    again = send(file, service.port)

    assert again.stdout.startswith(f"{EVENTS} accepted, 0 rejected; {EVENTS - 500} of them now")
    assert count_of(service, "killed") == EVENTS


def test_other_batch_size_after_an_interruption_stores_nothing_twice(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", events("other size"))
    send(file, service.port, "--batch", "200")
    put_back(file, line=400, accepted=400)

    again = send(file, service.port, "--batch", "70")

    assert count_of(service, "other size") == EVENTS
    assert again.stdout.startswith(f"{EVENTS} accepted, 0 rejected; {EVENTS - 400} of them now"), again.stderr
    assert "was started with --batch 200; this is kept" in again.stderr


def test_file_that_has_grown_is_continued(service: ServiceProcess, tmp_path: Path) -> None:
    made = events("grown", 30)
    file = tmp_path / "day.ndjson"
    file.write_text("\n".join(map(json.dumps, made[:10])) + "\n")
    send(file, service.port)
    put_back(file, line=0, accepted=0, sending=10)  # killed before the answer came

    for count in (20, 30):
        file.write_text("\n".join(map(json.dumps, made[:count])) + "\n")
        assert send(file, service.port).stdout.startswith(f"{count} accepted")

    assert count_of(service, "grown") == 30


def test_line_that_was_completed_later_is_not_a_second_event(service: ServiceProcess, tmp_path: Path) -> None:
    file = tmp_path / "day.ndjson"
    first, second = map(json.dumps, events("torn", 2))
    file.write_text(f"{first}\n{second[:30]}")
    assert send(file, service.port).returncode == 1
    file.write_text(f"{first}\n{second}\n")

    again = send(file, service.port)

    assert (again.returncode, again.stdout) == (1, "")
    assert "Line 2 has grown since it was sent" in again.stderr
    file.write_text("{}\n")
    assert "has changed since it was sent" in send(file, service.port).stderr


@pytest.mark.parametrize("name", ["day.ndjson", "day.csv"])
def test_byte_order_mark_is_no_part_of_the_first_event(service: ServiceProcess, tmp_path: Path, name: str) -> None:
    (event,) = events(f"mark of {name}", 1)
    text = json.dumps(event) if name.endswith("json") else ",".join(event) + "\n" + ",".join(map(str, event.values()))
    (tmp_path / name).write_text(text, "utf-8-sig")

    done = send(tmp_path / name, service.port)

    assert done.stdout.startswith("1 accepted, 0 rejected"), done.stderr
    assert count_of(service, f"mark of {name}") == 1


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("latin-1", "Line 3 is not UTF-8 (at its byte 12)"),
        ("utf-16", "Line 1 begins as UTF-16"),
        ("utf-16-le", "Line 1 has a zero byte"),
    ],
)
def test_file_that_is_not_utf8_is_refused_whole(
    service: ServiceProcess, tmp_path: Path, encoding: str, told: str
) -> None:
    lines = [json.dumps(event) for event in events(encoding, 2)]
    file = tmp_path / "day.ndjson"
    file.write_text("\n".join([*lines, '{"note":"Zo\u00eb"}']), encoding)

    done = send(file, service.port, "--batch", "1")

    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert "iconv" in done.stderr or "Convert it" in done.stderr
    assert count_of(service, encoding) == 0


def test_rejected_events_of_a_retried_batch_are_listed_once(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", [{"number": number} for number in range(4)])
    send(file, service.port)
    put_back(file, line=0, rejected=0, bytes=0, digest="")
    rejected = tmp_path / "day.ndjson.rejected"
    lines = rejected.read_text().splitlines(keepends=True)
    rejected.write_text("".join(lines[:2]) + lines[2][:20])  # as after a kill

    assert send(file, service.port).stdout.startswith("0 accepted, 4 rejected; 4 of them now")

    assert [json.loads(line)["line"] for line in rejected.read_text().splitlines()] == [1, 2, 3, 4]


def test_batch_may_become_smaller_after_it_was_refused_as_a_whole(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", events("smaller", 3))
    assert send(file, service.port, "--batch", "3", token="wrong").returncode == 1

    done = send(file, service.port, "--batch", "2")

    assert (done.returncode, done.stderr.count("was started with")) == (0, 0)
    assert json.loads((tmp_path / "day.ndjson.sent").read_text())["batch"] == 2
    assert count_of(service, "smaller") == 3


def test_file_is_sent_by_one_command_at_a_time(service: ServiceProcess, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "day.ndjson", events("at once", 1))
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "Another `ingest send`" in send(file, service.port).stderr

    assert send(file, service.port).returncode == 0


def test_batch_is_retried_if_the_service_could_not_store_an_item() -> None:
    answers = deque([{"rejected": [{"index": 0, "errors": {}, "retry": True}]}, {"rejected": []}])

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers.popleft()).encode())

    pauses: list[float] = []
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        answer = Poster(Target(f"http://127.0.0.1:{server.server_port}"), TOKEN, pauses.append).post([b"{}"], "key")
        server.shutdown()

    assert (answer, len(pauses)) == ({"rejected": []}, 1)


def put_back(file: Path, **values: object) -> None:
    """Change FILE.sent to the state of a run that was killed before it saved its progress."""
    state = file.with_name(file.name + ".sent")
    state.write_text(json.dumps({**json.loads(state.read_text()), **values}))


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


def test_refused_events_are_listed_with_line_and_errors(service: ServiceProcess, tmp_path: Path) -> None:
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


def test_failures_are_explained(service: ServiceProcess, tmp_path: Path) -> None:
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


def test_command_retries_and_gives_up_if_the_service_is_down(tmp_path: Path) -> None:
    pauses: list[float] = []
    poster = Poster(Target(f"http://127.0.0.1:{free_port()}"), TOKEN, pauses.append)

    with pytest.raises(SendFailed, match=r"no answer: .* refused. The progress is saved"):
        poster.post([b"{}"], "key")

    assert len(pauses) == TRIES_MAX
    assert pauses == sorted(pauses)


def test_tls_to_a_plain_port_fails_at_once_with_a_hint(service: ServiceProcess) -> None:
    pauses: list[float] = []
    poster = Poster(Target(f"https://127.0.0.1:{service.port}"), TOKEN, pauses.append)

    with pytest.raises(SendFailed, match="does the port speak plain HTTP"):
        poster.post([b"{}"], "key")

    assert pauses == []
