"""A programming error in any lane is logged, counted and answered in the contract's form."""

from typing import Any

import pytest

from ingest.auth.authenticator import Authenticator, Client
from ingest.events.idempotency import Keys
from ingest.http.admission import Admission
from ingest.http.batch_handler import BatchHandler, BatchLimits
from ingest.http.body_reader import BodyReader
from ingest.http.direct.events import DirectEvents
from ingest.http.direct.head import Head, RequestHeaders
from ingest.http.direct.request import Request
from ingest.http.event_handler import EventHandler
from ingest.http.rsgi import Handler
from ingest.pipeline.batcher import Batcher
from ingest.settings import Settings
from ingest.sources.handler import SourceHandler
from ingest.sources.making import make_sources
from ingest.telemetry.metrics import Metrics
from tests.unit.conftest import BODY_BYTES_MAX, TOKEN, Sample
from tests.unit.fakes import FakeClock, request, until
from tests.unit.http.direct.test_events import Connection, send
from tests.unit.making import body

MESSAGE = "The service failed on this request. The event was not acknowledged; retry."


class Broken(Batcher):
    """A batcher with a programming error."""

    def __init__(self) -> None:
        """It has no parts."""

    def submit(self, event: object, single: int = 0) -> Any:
        raise ZeroDivisionError


@pytest.fixture(params=["event", "batch", "source"])
def handler(request: pytest.FixtureRequest, admission: Admission, bodies: BodyReader, metrics: Metrics) -> Handler:
    if request.param == "event":
        return EventHandler(admission, bodies, Broken(), BODY_BYTES_MAX)
    if request.param == "batch":
        return BatchHandler(admission, bodies, Broken(), BatchLimits(BODY_BYTES_MAX, 10, BODY_BYTES_MAX))
    sources = make_sources(Settings(), "")
    return SourceHandler(admission, bodies, Broken(), sources, "", BODY_BYTES_MAX, metrics.count_adapted)


def assert_seen(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    assert sample("ingest_requests_refused_total", code="unforeseen") == 1
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


async def test_exception_that_nobody_foresees(
    handler: Handler, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    answered = await request(handler, body(), path="/in/asterisk", x_api_token=TOKEN)

    assert answered.status == 500
    if "rejected" in answered.json:
        assert answered.json["rejected"][0]["retry"] is True
    else:
        assert answered.json == {"message": MESSAGE}
    assert_seen(sample, caplog)


async def test_exception_in_the_direct_lane(
    admission: Admission, bodies: BodyReader, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    connection = Connection(broken=False)

    send(DirectEvents(EventHandler(admission, bodies, Broken(), BODY_BYTES_MAX), admission, BODY_BYTES_MAX), connection)
    await until(lambda: connection.statuses)

    assert connection.statuses == [500]
    assert_seen(sample, caplog)


class BrokenAuthenticator(Authenticator):
    """An authenticator with a programming error, which fails once."""

    failed = False

    def client_of(self, token: str | None) -> Client | None:
        if self.failed:
            return super().client_of(token)
        self.failed = True
        raise ZeroDivisionError


async def test_exception_in_the_admission_of_the_direct_lane(
    bodies: BodyReader, metrics: Metrics, clock: FakeClock, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    admission = Admission(BrokenAuthenticator([TOKEN], clock.monotonic), Keys(natural=False), metrics)
    connection = Connection(broken=False)

    request = Request(connection, Head("POST", b"/api/call-events", "1.1", RequestHeaders(()), keep_alive=True))
    handler = EventHandler(admission, bodies, Broken(), BODY_BYTES_MAX)
    DirectEvents(handler, admission, BODY_BYTES_MAX).take_whole(request, body())
    await until(lambda: connection.statuses)

    assert connection.statuses == [500]
    assert_seen(sample, caplog)
