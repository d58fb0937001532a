"""`ingest send --client NAME DIR` with the real service: records of FreeSWITCH, kills and outages."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from urllib.parse import quote
from uuid import uuid4

import pytest

from ingest.cli.send.records.sender import QUIET_SECONDS
from tests.commands.forked import run_ingest
from tests.faults.reading import embedded_messages, rows_of
from tests.integration.hostile import count_of
from tests.running import TOKEN, ServiceProcess
from tests.services import free_port, wait_until
from tests.unit.sources.records import JSON, UUID, XML

RECORDS = 150
KILLS = 4
"""The service is away during one of them."""
WAIT_SECONDS = 120


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service for all tests that neither stop it nor count all its rows. Each has calls of its own."""
    with ServiceProcess(tmp_path_factory.mktemp("records")) as running:
        yield running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    folder = tmp_path / "service"
    folder.mkdir()
    with ServiceProcess(folder) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cdr-not-sent"
    path.mkdir()
    return path


def words(folder: Path, port: int, *options: str, client: str = "freeswitch") -> list[str]:
    return ["send", str(folder), "--client", client, *options, "--url", f"http://127.0.0.1:{port}"]


def environment() -> dict[str, str]:
    return {**os.environ, "CALL_EVENTS_TOKEN": TOKEN}


def start(folder: Path, port: int, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ingest", *words(folder, port, *options)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def send(folder: Path, port: int, *options: str, client: str = "freeswitch") -> tuple[int, str, str]:
    done = run_ingest(words(folder, port, *options, client=client), environment(), seconds=WAIT_SECONDS)
    return done.returncode, done.stdout, done.stderr


def put(path: Path, content: bytes) -> None:
    """Write a record as one that its writer finished some time ago."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    written_at = time.time() - 2 * QUIET_SECONDS
    os.utime(draft, (written_at, written_at))
    draft.rename(path)


def put_calls(folder: Path, first: int, count: int) -> None:
    for number in range(first, first + count):
        put(folder / f"a_call-{number}.cdr.json", JSON.replace(UUID.encode(), f"call-{number}".encode()))


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))


@pytest.mark.parametrize(
    ("name", "record", "written"),
    [
        ("a_{}.cdr.json", JSON, lambda record: record + b"\n"),
        ("{}.cdr.xml", XML, bytes),
        ("{}.cdr.json", JSON, lambda record: quote(record).encode() + b"\n"),
        ("{}.cdr.json", JSON, lambda record: base64.b64encode(record) + b"\n"),
        ("{}.cdr.xml", XML, lambda record: quote(record).encode()),
    ],
    ids=["JSON", "XML", "percent-encoded", "Base64", "percent-encoded XML"],
)
def test_record_is_stored_once_although_it_is_posted_again(
    shared_service: ServiceProcess, folder: Path, name: str, record: bytes, written: Callable[[bytes], bytes]
) -> None:
    call = str(uuid4())
    name = name.format(call)
    put(folder / name, written(record.replace(UUID.encode(), call.encode())))

    first = send(folder, shared_service.port)
    (folder / "sent" / name).rename(folder / name)  # as after a kill between the answer and the move
    again = send(folder, shared_service.port)

    assert [done[:2] for done in (first, again)] == [(0, "1 accepted, 0 rejected, 0 perhaps not finished\n")] * 2
    assert (names(folder), names(folder / "sent")) == ([], [name])
    assert count_of(shared_service, call) == 1


def test_record_without_a_time_is_stored_once_although_it_is_posted_again(
    shared_service: ServiceProcess, folder: Path
) -> None:
    name = "timeless.cdr.json"
    put(folder / name, b'{"variables":{"caller_id_number":"1"}}')
    send(folder, shared_service.port)
    (folder / "sent" / name).rename(folder / name)

    code, out, _ = send(folder, shared_service.port)

    assert (code, out[:10]) == (0, "1 accepted")
    assert count_of(shared_service, "timeless") == 1


def test_refused_record_is_kept_with_its_reason(shared_service: ServiceProcess, folder: Path) -> None:
    put(folder / "1.cdr.xml", b"<1>no element has such a name</1>")
    put_calls(folder, 2, 1)

    code, out, err = send(folder, shared_service.port, "--remove")

    assert (code, out[:22]) == (1, "1 accepted, 1 rejected")
    assert "1.cdr.xml: refused, and moved to rejected/. The service answered 400" in err
    assert (names(folder), names(folder / "rejected")) == ([], ["1.cdr.xml", "1.cdr.xml.error"])
    assert "The body is not valid XML" in (folder / "rejected/1.cdr.xml.error").read_text()


def test_records_of_another_source_are_posted_to_it(shared_service: ServiceProcess, folder: Path) -> None:
    event = {"call_id": "plain", "from_number": "1", "to_number": "2", "event_type": "call_started"}
    put(folder / "7.json", json.dumps(event).encode())

    assert send(folder, shared_service.port, client="asterisk")[0] == 0
    assert count_of(shared_service, "plain") == 1


def test_unknown_source_ends_the_command_and_moves_nothing(shared_service: ServiceProcess, folder: Path) -> None:
    put(folder / "7.json", b"{}")

    code, _, err = send(folder, shared_service.port, client="nobody")

    assert (code, names(folder)) == (1, ["7.json"])
    assert "There is no source 'nobody'" in err


@pytest.mark.timeout(600)
def test_each_record_is_one_row_and_one_message_across_kills_and_an_outage(
    service: ServiceProcess, folder: Path
) -> None:
    random, made = Random(19), 0
    for kill in range(KILLS):
        sender = start(folder, service.port, "--follow")
        put_calls(folder, made, RECORDS)
        made += RECORDS
        if kill == KILLS // 2:
            service.stop()
            put_calls(folder, made, RECORDS)
            made += RECORDS
            left = names(folder)
            assert len(left) >= RECORDS
            service.start()
        rows = random.randrange(made)
        assert wait_until(lambda least=rows: len(rows_of(url(service))) >= least, WAIT_SECONDS)  # type: ignore[misc]
        sender.send_signal(signal.SIGKILL)
        sender.communicate()
    sender = start(folder, service.port, "--follow")
    put_calls(folder, made, 1)  # it is sent, so the command runs: a signal before would end it at once
    made += 1
    assert wait_until(lambda: not names(folder), WAIT_SECONDS)
    sender.send_signal(signal.SIGTERM)
    sender.communicate(timeout=WAIT_SECONDS)

    expected = Counter(f"call-{number}" for number in range(made))
    assert sender.returncode == 0
    assert Counter(call for _, call in rows_of(url(service))) == expected
    assert len(names(folder / "sent")) == made
    data = Path(service.environment["INGEST_DATA_DIR"])
    assert wait_until(lambda: len(embedded_messages(data)) >= made, WAIT_SECONDS)
    assert Counter(json.loads(body)["call_id"] for _, body in embedded_messages(data)) == expected


def test_one_command_at_a_time_posts_the_records_of_a_folder(folder: Path) -> None:
    put_calls(folder, 0, 1)
    first = start(folder, free_port(), "--follow")
    assert wait_until((folder / ".ingest-send.lock").exists, WAIT_SECONDS)
    assert first.stderr is not None
    first.stderr.readline()  # it waits for the service

    code, _, err = send(folder, free_port())
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=WAIT_SECONDS)

    assert (code, names(folder), first.returncode) == (1, ["a_call-0.cdr.json"], 0)
    assert "Another `ingest send` posts the records" in err


def url(service: ServiceProcess) -> str:
    return service.environment["INGEST_DATABASE_URL"]
