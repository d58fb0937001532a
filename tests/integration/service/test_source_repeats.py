"""Requests that telephony servers send again become one event, though they send no time of their own."""

import hashlib
import hmac
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.exposition import scrape
from tests.faults.reading import payloads_of
from tests.running import TOKEN, ServiceProcess

TWILIO = {"CallSid": "CA72", "From": "+1555", "To": "+1556", "CallStatus": "completed", "CallDuration": "47"}
JAMBONZ = b'{"call_sid":"6e2a","from":"+1555","to":"+1556","call_status":"in-progress"}'
TIMES = 3


def post(service: ServiceProcess, source: str, body: bytes, **headers: str) -> int:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    status, _, _ = service.request("POST", f"/in/{source}/{TOKEN}", body, named)
    return status


def rows(service: ServiceProcess) -> int:
    return len(payloads_of(service.environment["INGEST_DATABASE_URL"]))


def test_twilio_names_a_request_that_it_sends_again(embedded_service: ServiceProcess) -> None:
    body = urlencode(TWILIO).encode()

    statuses = [post(embedded_service, "twilio", body, I_Twilio_Idempotency_Token="7f0c") for _ in range(TIMES)]
    other = post(embedded_service, "twilio", urlencode({**TWILIO, "CallSid": "CA73"}).encode())

    assert (statuses, other) == ([204] * TIMES, 204)
    assert rows(embedded_service) == 2


def test_signature_of_jambonz_counts_once(embedded_service: ServiceProcess) -> None:
    now = int(time.time())
    digest = hmac.new(b"any", b"%d.%b" % (now, JAMBONZ), hashlib.sha256).hexdigest()

    statuses = [post(embedded_service, "jambonz", JAMBONZ, Jambonz_Signature=f"t={now},v1={digest}") for _ in "abc"]

    assert statuses == [200] * TIMES
    assert rows(embedded_service) == 1


@pytest.mark.parametrize("source", ["asterisk", "twilio"])
def test_natural_key_leaves_out_what_the_service_made_up(tmp_path: Path, source: str) -> None:
    if source == "twilio":
        bodies = [urlencode({**TWILIO, "SequenceNumber": str(number)}).encode() for number in (1, 2)]
    else:
        event = {"call_id": "1", "from_number": "2", "to_number": "3", "event_type": "call_answered"}
        bodies = [urlencode({**event, "leg": leg}).encode() for leg in "ab"]

    with ServiceProcess(tmp_path, {"IDEMPOTENCY_KEY": "natural"}) as service:
        for body in bodies * TIMES:
            assert post(service, source, body) in (200, 204)

        assert rows(service) == len(bodies)


def test_changed_events_are_counted_by_client_and_reason(embedded_service: ServiceProcess) -> None:
    post(
        embedded_service, "asterisk", urlencode({"call_id": "1", "from_number": "9" * 200, "event_type": "x"}).encode()
    )

    seen = scrape(embedded_service)
    for reason in ("cut", "unknown"):
        assert seen.value("ingest_events_adapted_total", client="asterisk", reason=reason) == 1
