"""Every row of the contract's HTTP table, over a real socket: statuses, headers and exact bodies."""

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.integration.conftest import OTHER_TOKEN, Payloads
from tests.raw_http import API, BATCH, RawConnection, ask, head, post
from tests.running import TOKEN, ServiceProcess
from tests.services import wait_until
from tests.unit.making import ABSENT, body

AUTH = f"X-API-TOKEN: {TOKEN}"
SECONDS = 60.0


def test_event_is_queued(service: ServiceProcess) -> None:
    reply = ask(service.port, post(body()))

    assert (reply.status, reply.body) == (200, b'{"status":"queued"}')
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == "19"


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b",".join([body(), body(duration=3)]) + b"]",
        body() + b"\n" + body(),
        b"\n" + body() + b"\r\n\n" + body() + b"\n",
    ],
    ids=["array", "NDJSON", "NDJSON with empty lines"],
)
def test_batch_is_queued(service: ServiceProcess, text: bytes) -> None:
    reply = ask(service.port, post(text, path=BATCH))

    assert (reply.status, reply.body) == (200, b'{"status":"queued","accepted":2,"rejected":[]}')


def test_batch_lists_its_rejected_events(service: ServiceProcess) -> None:
    reply = ask(service.port, post(b"\n".join([body(), body(call_id=7), b"{"]), path=BATCH))

    assert reply.status == 200
    first, second = reply.json["rejected"]
    assert (reply.json["status"], reply.json["accepted"]) == ("queued", 1)
    assert first == {"index": 1, "errors": {"call_id": ["The call id must be a string."]}}
    assert second["index"] == 2
    assert second["errors"]["event"][0].startswith("The body is not valid JSON: ")


def test_batch_without_a_valid_event_is_invalid(service: ServiceProcess) -> None:
    reply = ask(service.port, post(b"[" + body(from_number=ABSENT) + b"]", path=BATCH))

    assert reply.status == 422
    assert reply.json == {
        "message": "The given data was invalid.",
        "accepted": 0,
        "rejected": [{"index": 0, "errors": {"from_number": ["The from number field is required."]}}],
    }


@pytest.mark.parametrize("path", [API, BATCH])
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "caf\xe9", f"{TOKEN},"])
def test_missing_or_wrong_token_is_refused(service: ServiceProcess, path: str, token: str | None) -> None:
    reply = ask(service.port, post(body(), path=path, token=token))

    assert (reply.status, reply.body) == (401, b'{"message":"Unauthenticated."}')
    assert reply.headers["www-authenticate"] == 'Token realm="call-events"'


@pytest.mark.parametrize("token", [TOKEN, OTHER_TOKEN])
def test_each_token_is_accepted(service: ServiceProcess, token: str) -> None:
    assert ask(service.port, post(body(), token=token)).status == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "The body is empty; it must be one JSON object."),
        (b" \n", "The body is empty; it must be one JSON object."),
        (b"call_id=1&event_type=x", "The body is not valid JSON: "),
        (body()[:-1], "The body is not valid JSON: "),
        (body() + b"x", "There is more text behind the JSON object. "),
        (body().replace(b"pbx", b"\xff\xfe"), "The body is not valid UTF-8 (byte "),
        (body(note=ABSENT)[:-1] + b', "note": "\xc3"}', "The body is not valid UTF-8 (byte "),
        (b"[]", "The body must be one JSON object."),
        (b'"text"', "The body must be one JSON object."),
        (b"null", "The body must be one JSON object."),
        (b"[" * 100_000, "The body is nested deeper than 31 levels."),
        (body()[:-1] + b', "x": ' + b"[" * 31 + b"]" * 31 + b"}", "The body is nested deeper than 31 levels."),
    ],
)
def test_body_that_is_not_a_json_object_is_refused(service: ServiceProcess, text: bytes, message: str) -> None:
    reply = ask(service.port, post(text))

    assert reply.status == 400
    assert list(reply.json) == ["message"]
    assert reply.json["message"].startswith(message)


def test_all_errors_of_an_event_are_reported_at_once_in_the_form_of_laravel(service: ServiceProcess) -> None:
    wrong = b'{"call_id":"","from_number":5,"event_type":"call_ended","timestamp":"yesterday","duration":1.5}'

    reply = ask(service.port, post(wrong))

    assert reply.status == 422
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == {
        "message": "The given data was invalid.",
        "errors": {
            "call_id": ["The call id field is required."],
            "from_number": ["The from number must be a string."],
            "to_number": ["The to number field is required."],
            "timestamp": [
                "The timestamp must be a date and time as in RFC 3339, with an offset, such as 2025-01-31T13:45:00Z."
            ],
            "duration": ["The duration must be a whole number of seconds."],
        },
    }


@pytest.mark.parametrize(
    ("duration", "error"),
    [
        (-1, "The duration must be at least 0."),
        (0.5, "The duration must be a whole number of seconds."),
        ("1.5", "The duration must be a whole number of seconds."),
        (True, "The duration must be a whole number of seconds."),
        (2**31, "The duration may not be greater than 2147483647."),
        (None, "The duration field is required when event type is call_ended."),
        (ABSENT, "The duration field is required when event type is call_ended."),
    ],
)
def test_duration_is_a_whole_number_of_seconds(service: ServiceProcess, duration: object, error: str) -> None:
    reply = ask(service.port, post(body(event_type="call_ended", duration=duration)))

    assert (reply.status, reply.json["errors"]) == (422, {"duration": [error]})


def test_unknown_fields_and_every_byte_are_stored(service: ServiceProcess, payloads: Payloads) -> None:
    text = body(call_id="kept-as-it-is", duration=None)[:-1] + ', "more" : {"à":[1.0, 1e2]}\n }'.encode()

    assert ask(service.port, post(text)).status == 200
    assert payloads("kept-as-it-is") == [text.decode()]


@pytest.mark.parametrize("kind", [None, "application/json", "application/x-www-form-urlencoded", "text/plain", "x", ""])
def test_body_is_json_despite_its_content_type(service: ServiceProcess, kind: str | None) -> None:
    lines = [] if kind is None else [f"Content-Type: {kind}"]

    assert ask(service.port, post(body(), *lines)).status == 200


@pytest.mark.parametrize("path", [API, BATCH])
@pytest.mark.parametrize("encoding", ["br", "deflate, gzip"])
def test_unknown_encoding_is_refused(service: ServiceProcess, path: str, encoding: str) -> None:
    reply = ask(service.port, post(body(), f"Content-Encoding: {encoding}", path=path))

    assert (reply.status, reply.headers["accept-encoding"]) == (415, "gzip, zstd")
    assert reply.json == {
        "message": "The Content-Encoding of the body is not supported; use gzip or zstd, or send it uncompressed."
    }


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_identity_encoding_is_accepted(service: ServiceProcess, encoding: str) -> None:
    assert ask(service.port, post(body(), f"Content-Encoding: {encoding}")).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize("path", [API, BATCH])
def test_only_post_is_allowed(service: ServiceProcess, method: str, path: str) -> None:
    reply = ask(service.port, head(method, path, AUTH), to=method)

    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert reply.body == (b"" if method == "HEAD" else b'{"message":"This path does not allow the method."}')


@pytest.mark.parametrize("path", ["/api", "/api/call-events/1", "/api/call_events", "/%00", "/docs/x", "//"])
def test_unknown_path_is_404(service: ServiceProcess, path: str) -> None:
    for method in ("GET", "POST"):
        reply = ask(service.port, head(method, path, AUTH, "Content-Length: 0"))
        assert reply.status == 404
        assert reply.json == {"message": "Not found. Events go to POST /api/call-events; see /docs."}


@pytest.mark.parametrize("path", [f"{API}?source=pbx-1&x=%20", f"{API}/", f"http://localhost{API}"])
def test_variants_of_the_path_are_accepted(service: ServiceProcess, path: str) -> None:
    assert ask(service.port, post(body(), path=path)).body == b'{"status":"queued"}'


def test_first_of_repeated_token_headers_counts(service: ServiceProcess) -> None:
    assert ask(service.port, post(body(), "X-API-TOKEN: wrong")).status == 200
    assert ask(service.port, post(body(), AUTH, token="wrong")).status == 401


def test_header_names_are_case_insensitive(service: ServiceProcess) -> None:
    assert ask(service.port, post(body(), f"x-api-token: {TOKEN}", token=None)).status == 200


def test_connection_serves_further_requests_after_refusals(service: ServiceProcess) -> None:
    requests = [post(body()), post(body(), token=None), post(b"{"), post(body(), path="/x"), head("GET", API, AUTH)]
    with RawConnection(service.port) as connection:
        for request, status in zip([*requests, post(body())], [200, 401, 400, 404, 405, 200], strict=True):
            connection.send(request)
            assert connection.reply().status == status


def test_connection_is_closed_on_request(service: ServiceProcess) -> None:
    with RawConnection(service.port) as connection:
        connection.send(post(body(), "Connection: close"))
        reply = connection.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert connection.is_closed()


def test_http_1_0_clients_are_served(service: ServiceProcess) -> None:
    with RawConnection(service.port) as connection:
        connection.send(post(body(), version="1.0"))
        assert connection.reply().body == b'{"status":"queued"}'
        assert connection.is_closed()


def test_overload_and_a_database_failure_have_different_statuses(tmp_path: Path, listener: str) -> None:
    settings = {
        "LISTENER": listener,
        "QUEUE_EVENTS_MAX": "1",
        "STORE_CONNECTIONS_MAX": "1",
        "COMMIT_TIMEOUT_SECONDS": "1",
    }
    with ServiceProcess(tmp_path, settings) as service, closing(sqlite3.connect(tmp_path / "events.db")) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        with ExitStack() as stack:
            connections = [stack.enter_context(RawConnection(service.port)) for _ in range(8)]
            for connection in connections:
                connection.send(post(body()))
            replies = [connection.reply() for connection in connections]
        blocker.rollback()
        assert wait_until(lambda: service.post(body()) == (200, b'{"status":"queued"}'), SECONDS)

    failed = [reply for reply in replies if reply.status == 500]
    refused = [reply for reply in replies if reply.status == 503]
    assert failed
    assert refused
    assert len(failed) + len(refused) == len(replies)
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    assert refused[0].json == {"message": "The service is overloaded. The event was not stored; retry."}
    assert all(list(reply.json) == ["message"] and "not acknowledged" in reply.json["message"] for reply in failed)
