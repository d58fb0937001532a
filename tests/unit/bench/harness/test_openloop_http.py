"""The open loop's requests, as the service reads them; and answers that arrive in parts."""

import json

import pytest

from bench.harness.events import STEPS
from bench.openloop.http import Requests, status_of
from ingest.events.event import decode

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 19\r\n\r\n{"status":"queued"}'


def body_of(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    return body


def test_every_request_is_an_event_of_its_own_and_three_make_a_call() -> None:
    requests = Requests("a-token")
    made = [decode(body_of(requests[number])) for number in range(300)]

    assert [event.event_type for event in made[:3]] == list(STEPS)
    assert len({event.payload for event in made}) == 300
    assert len({event.call_id for event in made}) == 100


def test_token_goes_into_the_head_as_it_is() -> None:
    head = Requests("100%-a%020x-token")[7].partition(b"\r\n\r\n")[0]

    assert b"X-API-TOKEN: 100%-a%020x-token" in head


def test_body_is_what_the_benchmarks_send() -> None:
    body = json.loads(body_of(Requests("a-token")[5]))

    assert body["call_id"] == "000000000001@pbx.example.com"
    assert body["duration"] == 42


@pytest.mark.parametrize("missing", [1, 19, 20, len(ANSWER) - 1])
def test_answer_is_complete_only_with_its_last_byte(missing: int) -> None:
    assert status_of(ANSWER) == 200
    assert status_of(ANSWER[:-missing]) is None


@pytest.mark.parametrize(
    "received",
    [
        ANSWER + ANSWER,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"SSH-2.0\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["two answers", "no length", "not HTTP"],
)
def test_bytes_that_are_not_one_answer_are_refused(received: bytes) -> None:
    with pytest.raises(ValueError, match="answer"):
        status_of(received)
