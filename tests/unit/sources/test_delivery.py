"""One request of a source: whether its head may come again, and what its answer is."""

import pytest

from ingest.auth.authenticator import Client
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.pipeline.batcher import Batcher
from ingest.settings import Settings
from ingest.sources.handler import SourceHandler
from ingest.sources.making import make_sources
from ingest.telemetry.metrics import Metrics
from tests.unit.conftest import BODY_BYTES_MAX, TOKEN
from tests.unit.fakes import FakeHeaders, FakeScope, request


@pytest.fixture
def handler(admission: Admission, bodies: BodyReader, batcher: Batcher, metrics: Metrics) -> SourceHandler:
    sources = make_sources(Settings(), "")
    return SourceHandler(
        admission, bodies, batcher, sources, "https://a.example/", BODY_BYTES_MAX, metrics.count_adapted
    )


@pytest.mark.parametrize(
    ("path", "query", "repeats"),
    [
        ("/in/kamailio", "", True),
        ("/in/freeswitch/token", "uuid=1", False),
        ("/in/jambonz", "", False),
        ("/in/twilio", "", False),
        ("/in/nobody", "", False),
    ],
)
def test_head_with_values_of_one_request_does_not_come_again(
    handler: SourceHandler, path: str, query: str, repeats: bool
) -> None:
    """The listener remembers heads that come again. Others would push these out."""
    assert handler.deliver(FakeScope(FakeHeaders({}), path=path, query_string=query)).repeats_its_head is repeats


async def test_answer_of_sipgate_asks_for_further_events(handler: SourceHandler) -> None:
    answered = await request(handler, b"event=newCall&from=1&to=2&callId=3", path=f"/in/sipgate/{TOKEN}")

    assert (answered.status, answered.headers["content-type"]) == (200, "application/xml")
    url = f"https://a.example/in/sipgate/{TOKEN}"
    assert f'onAnswer="{url}" onHangup="{url}"'.encode() in answered.body


async def test_answer_of_twilio_has_no_content(handler: SourceHandler) -> None:
    answered = await request(handler, b"CallSid=1&CallStatus=ringing", path=f"/in/twilio/{TOKEN}")

    assert (answered.status, answered.body) == (204, b"")


async def test_accepted_events_are_counted_by_source(handler: SourceHandler) -> None:
    await request(handler, b"CallSid=1&CallStatus=ringing", path=f"/in/twilio/{TOKEN}")
    await request(handler, b"not a call", path=f"/in/twilio/{TOKEN}")

    assert handler.accepted == {"twilio": 1}


@pytest.mark.parametrize("names_client", [False, True])
def test_messages_name_the_source_if_keys_need_it(
    admission: Admission, bodies: BodyReader, batcher: Batcher, metrics: Metrics, names_client: bool
) -> None:
    sources = make_sources(Settings(), "")
    handler = SourceHandler(
        admission, bodies, batcher, sources, "", BODY_BYTES_MAX, metrics.count_adapted, names_client=names_client
    )
    crm, configured = Client("crm"), Client("configured")

    made = [handler.message_headers(client, "twilio") for client in (crm, configured)]

    if names_client:
        assert made == [{"token": "crm", "client": "twilio"}, {"client": "twilio"}]
        assert handler.message_headers(crm, "twilio") is made[0]
    else:
        assert made == [{"token": "crm"}, None]
    assert crm.message_headers == {"token": "crm"}
