"""Sources over real HTTP: the place of their token, the response, and the resulting event."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.raw_http import RawConnection, Reply, ask
from tests.running import TOKEN, ServiceProcess
from tests.unit.sources.records import JSON, UUID

JAMBONZ_SECRET, TWILIO_SECRET = "a-secret-of-jambonz", "a-secret-of-twilio"
PUBLIC_URL = "https://events.example.com"
FORM = "application/x-www-form-urlencoded"
TWILIO = urlencode({"CallSid": "CA1", "From": "+1555", "To": "+1556", "CallStatus": "completed", "CallDuration": "9"})
JAMBONZ = b'{"call_sid":"6e2a","from":"+1555","to":"+1556","call_status":"in-progress"}'
PLAIN = {"call_id": "1@pbx", "from_number": "100", "to_number": "200", "event_type": "call_started"}


@pytest.fixture(scope="module", params=["direct", "granian"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    secrets = f"jambonz={JAMBONZ_SECRET},twilio={TWILIO_SECRET}"
    settings = {"CLIENT_SECRETS": secrets, "PUBLIC_URL": PUBLIC_URL, "LISTENER": request.param}
    with ServiceProcess(tmp_path_factory.mktemp("sources"), settings) as running:
        yield running


def send(service: ServiceProcess, target: str, body: bytes, *lines: str, method: str = "POST") -> Reply:
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *lines]
    return ask(service.port, "\r\n".join([*head, "", ""]).encode() + body)


def next_event(service: ServiceProcess) -> dict[str, Any]:
    printed = service.command("tail", "--limit", "1", "--timeout", "60", seconds=90).stdout
    return dict(json.loads(printed))


def basic(credentials: str) -> str:
    return f"Authorization: Basic {base64.b64encode(credentials.encode()).decode()}"


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        (f"/in/freeswitch/{TOKEN}?uuid={UUID}", []),
        (f"/in/freeswitch/{quote(TOKEN)}/?uuid={UUID}", []),
        (f"/in/freeswitch?token={TOKEN}?uuid={UUID}", []),
        (f"/in/freeswitch?uuid={UUID}", [basic(f"pbx:{TOKEN}")]),
        (f"/in/freeswitch?uuid={UUID}", [basic(f"{TOKEN}:")]),
        (f"/in/freeswitch?uuid={UUID}", [f"X-API-TOKEN: {TOKEN}"]),
    ],
    ids=["path", "path, slash", "query", "password", "user", "header"],
)
def test_token_is_accepted_in_every_place_that_sources_support(
    service: ServiceProcess, target: str, lines: list[str]
) -> None:
    reply = send(service, target, JSON, f"Content-Type: {FORM}", *lines)

    assert (reply.status, reply.json) == (200, {"status": "queued"})
    event = next_event(service)
    assert (event["call_id"], event["event_type"], event["client"]) == (UUID, "call_ended", "freeswitch")
    assert event["original"] == json.loads(JSON)


@pytest.mark.parametrize("lines", [[], [basic("pbx:wrong")], ["Authorization: Basic !"], ["Authorization: Bearer x"]])
def test_source_without_a_valid_token_is_challenged(service: ServiceProcess, lines: list[str]) -> None:
    reply = send(service, "/in/freeswitch", JSON, *lines)

    assert (reply.status, reply.json) == (401, {"message": "Unauthenticated."})
    assert reply.headers["www-authenticate"] == 'Basic realm="call-events"'


def test_event_in_a_form_is_accepted(service: ServiceProcess) -> None:
    reply = send(service, f"/in/asterisk/{TOKEN}", urlencode(PLAIN).encode(), f"Content-Type: {FORM}")

    assert reply.status == 200
    event = next_event(service)
    assert {name: event[name] for name in PLAIN} == PLAIN
    assert event["timestamp"].endswith("Z")


def test_missing_fields_are_reported_as_for_any_event(service: ServiceProcess) -> None:
    reply = send(service, f"/in/kamailio/{TOKEN}", b'{"call_id":"1"}')

    assert reply.status == 422
    assert list(reply.json["errors"]) == ["event_type"]


def twilio_signature(url: str) -> str:
    fields = dict(pair.split("=") for pair in TWILIO.replace("%2B", "+").split("&"))
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    digest = hmac.new(TWILIO_SECRET.encode(), signed.encode(), hashlib.sha1).digest()
    return f"X-Twilio-Signature: {base64.b64encode(digest).decode()}"


def test_twilio_must_sign_and_gets_204(service: ServiceProcess) -> None:
    target = f"/in/twilio/{TOKEN}?a=1"

    reply = send(service, target, TWILIO.encode(), twilio_signature(PUBLIC_URL + target))

    assert (reply.status, reply.body) == (204, b"")
    assert "content-length" not in reply.headers
    assert next_event(service)["duration"] == 9
    assert send(service, target, TWILIO.encode(), twilio_signature(target)).status == 401
    assert send(service, target, TWILIO.encode()).status == 401


def test_jambonz_must_sign(service: ServiceProcess) -> None:
    now = int(time.time())
    digest = hmac.new(JAMBONZ_SECRET.encode(), b"%d.%b" % (now, JAMBONZ), hashlib.sha256).hexdigest()

    reply = send(service, f"/in/jambonz/{TOKEN}", JAMBONZ, f"Jambonz-Signature: t={now},v1={digest}")

    assert reply.status == 200
    assert next_event(service)["event_type"] == "call_answered"
    assert send(service, f"/in/jambonz/{TOKEN}", JAMBONZ).status == 401


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        (
            "/in/nobody/x",
            404,
            "There is no source 'nobody'. Known sources: 3cx, asterisk, freeswitch, fusionpbx, jambonz",
        ),
        ("/in/", 404, "There is no source ''"),
        (f"/in/freeswitch/{TOKEN}", 400, "The body is not valid JSON"),
    ],
)
def test_error_has_its_message(service: ServiceProcess, target: str, status: int, message: str) -> None:
    reply = send(service, target, b"{")

    assert (reply.status, reply.json["message"][: len(message)]) == (status, message)


def test_only_post_is_allowed(service: ServiceProcess) -> None:
    reply = send(service, f"/in/freeswitch/{TOKEN}", b"", method="GET")

    assert (reply.status, reply.headers["allow"]) == (405, "POST")


def test_body_may_come_in_parts(service: ServiceProcess) -> None:
    body = urlencode(PLAIN).encode()
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:20], body[20:])) + b"0\r\n\r\n"
    head = [f"POST /in/asterisk/{TOKEN} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", "", ""]

    reply = ask(service.port, "\r\n".join(head).encode() + parts)

    assert (reply.status, next_event(service)["call_id"]) == (200, PLAIN["call_id"])


def test_body_above_the_limit_is_refused(service: ServiceProcess) -> None:
    head = [f"POST /in/asterisk/{TOKEN} HTTP/1.1", "Host: localhost", "Content-Length: 1000001", "", ""]

    assert ask(service.port, "\r\n".join(head).encode() + b"a=" * 500_000 + b"b").status == 413


def test_requests_of_one_connection_keep_their_order(service: ServiceProcess) -> None:
    """The second one has a head that is known by then, and the third one is refused before the others are stored."""
    bodies = [urlencode({**PLAIN, "call_id": call_id}).encode() for call_id in ("11", "12", "")]
    with RawConnection(service.port) as connection:
        for body in bodies:
            head = [f"POST /in/asterisk/{TOKEN} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", "", ""]
            connection.send("\r\n".join(head).encode() + body)
        statuses = [connection.reply().status for _ in bodies]

    assert statuses == [200, 200, 422]
    assert [next_event(service)["call_id"] for _ in range(2)] == ["11", "12"]


def test_no_token_is_in_the_log(service: ServiceProcess) -> None:
    assert TOKEN not in service.log()
