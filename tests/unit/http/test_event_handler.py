"""The fast path, called as Granian calls it, with a store in memory."""

import asyncio
import logging
from typing import Any

import pytest

from ingest.auth.tokens import CONFIGURED
from ingest.errors import StoreUnavailable
from ingest.http.admission import Admission
from ingest.http.event_handler import EventHandler
from ingest.pipeline.batcher import Batcher
from tests.unit.conftest import BODY_BYTES_MAX, QUEUE_EVENTS_MAX, TOKEN, Sample
from tests.unit.fakes import Answered, FakeDispatcher, FakeStore, request, until
from tests.unit.making import body, call_ids, event


async def post(handler: EventHandler, text: bytes, **headers: str) -> Answered:
    return await request(handler, text, **{"x_api_token": TOKEN, **headers})


def message_of(answered: Answered) -> Any:
    return answered.json["message"]


async def test_response_is_sent_once_the_event_is_committed(
    handler: EventHandler, store: FakeStore, dispatcher: FakeDispatcher
) -> None:
    store.gate.clear()
    answering = asyncio.create_task(post(handler, body(call_id="one")))
    await until(lambda: store.tried)
    assert not answering.done()

    store.gate.set()
    answered = await answering

    assert (answered.status, answered.json) == (200, {"status": "queued"})
    assert [call_ids(batch) for batch in dispatcher.dispatched] == [["one"]]


async def test_requests_that_wait_together_share_a_commit(handler: EventHandler, store: FakeStore) -> None:
    replies = await asyncio.gather(*(post(handler, body(call_id=str(number))) for number in range(5)))

    assert {answered.status for answered in replies} == {200}
    assert [len(commit.batch) for commit in store.commits] == [5]


async def test_payload_is_what_was_sent(handler: EventHandler, store: FakeStore) -> None:
    text = b" " + body(more=[1.0]) + b"\n"
    await post(handler, text)

    assert [made.payload for made in store.commits[0].batch.events] == [text]


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
async def test_method_is_checked_before_the_token(handler: EventHandler, method: str) -> None:
    answered = await request(handler, b"", method)

    assert (answered.status, answered.headers["allow"]) == (405, "POST")


async def test_token_is_checked_before_the_body(handler: EventHandler) -> None:
    assert (await request(handler, b"{")).status == 401
    assert (await request(handler, b"", content_length=str(10 * BODY_BYTES_MAX))).status == 401
    assert (await request(handler, b"", content_encoding="gzip")).status == 401


async def test_length_and_encoding_are_checked_before_the_body(handler: EventHandler) -> None:
    assert (await post(handler, b"", content_length=str(BODY_BYTES_MAX + 1))).status == 413
    assert (await post(handler, b"", content_encoding="br")).status == 415


@pytest.mark.parametrize(("encoding", "status"), [("", 200), (" Identity ", 200), (None, 415), ("identity, gzip", 415)])
async def test_identity_encoding_is_accepted_and_others_are_refused(
    handler: EventHandler, encoding: str | None, status: int
) -> None:
    """The value None stands for bytes that are not text."""
    assert (await request(handler, body(), x_api_token=TOKEN, content_encoding=encoding)).status == status


@pytest.mark.parametrize("length", ["", "x", "-1", "+1", "1_0"])
async def test_invalid_length_is_ignored(handler: EventHandler, length: str) -> None:
    assert (await post(handler, body(), content_length=length)).status == 200


async def test_draining_service_refuses_events(admission: Admission, handler: EventHandler, store: FakeStore) -> None:
    admission.drain()
    answered = await post(handler, body())

    assert (answered.status, answered.headers["retry-after"], answered.headers["connection"]) == (503, "1", "close")
    assert message_of(answered) == "The service is stopping. The event was not stored; retry."
    assert store.tried == []


async def test_full_queue_is_overload(handler: EventHandler, batcher: Batcher, store: FakeStore) -> None:
    store.gate.clear()
    batcher.submit(event("busy"))
    await until(lambda: store.tried)
    waiting = [batcher.submit(event(str(number))) for number in range(QUEUE_EVENTS_MAX)]

    answered = await post(handler, body())

    assert (answered.status, answered.headers["retry-after"]) == (503, "1")
    store.gate.set()
    await waiting[-1]


async def test_event_is_accepted_again_after_a_database_failure(handler: EventHandler, store: FakeStore) -> None:
    store.errors.append(StoreUnavailable())
    answered = await post(handler, body())

    assert answered.status == 500
    assert message_of(answered) == "The database is unavailable. The event was not acknowledged; retry."
    assert (await post(handler, body())).status == 200


async def test_log_says_why_the_service_refused(
    handler: EventHandler, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ingest.requests")
    store.errors.append(StoreUnavailable("the disk is slow"))
    await post(handler, body())
    await post(handler, b"{")

    refused = [record for record in caplog.records if record.message == "request refused"]
    assert [getattr(record, "reason", None) for record in refused] == ["the disk is slow", None]


async def test_log_names_path_token_and_broken_rules_but_no_values(
    handler: EventHandler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ingest.requests")
    await post(handler, body(from_number="", duration=-12345))
    await post(handler, b"{")
    await request(handler, body())

    refused = [record.__dict__ for record in caplog.records if record.message == "request refused"]
    assert {(record["path"], record["token"]) for record in refused} == {
        ("/", CONFIGURED),
        ("/", ""),
    }
    assert refused[0]["fields"] == {
        "from_number": "The from number field is required.",
        "duration": "The duration must be at least 0.",
    }
    assert "JSON" in refused[1]["fields"]["body"]
    assert "12345" not in str(refused)


async def test_event_that_the_database_refuses_is_invalid_and_its_neighbors_are_stored(
    handler: EventHandler, store: FakeStore
) -> None:
    store.poison.add("poison")
    names = ["a", "poison", "b"]
    replies = await asyncio.gather(*(post(handler, body(call_id=name)) for name in names))

    assert [answered.status for answered in replies] == [200, 422, 200]
    assert list(replies[1].json["errors"]) == ["payload"]


async def test_refusals_are_counted_by_their_code(handler: EventHandler, sample: Sample) -> None:
    await request(handler, b"")
    await post(handler, b"{")
    await post(handler, b"[")
    await post(handler, body(duration=-1))
    await post(handler, body())

    codes = {"unauthenticated": 1, "malformed": 2, "invalid": 1, "overloaded": 0}
    assert {code: sample("ingest_requests_refused_total", code=code) for code in codes} == codes
    assert sample("ingest_events_accepted_total") == 1
