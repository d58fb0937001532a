"""The responses to a group of events, with connections of the test."""

import logging

import pytest

from ingest.errors import StoreUnavailable
from ingest.http.admission import Admission
from ingest.http.direct.events import DirectEvents
from ingest.http.direct.head import Head, RequestHeaders
from ingest.http.direct.request import Request
from ingest.http.event_handler import EventHandler
from ingest.http.responses import Response
from tests.unit.conftest import BODY_BYTES_MAX, TOKEN
from tests.unit.fakes import FakeStore, until
from tests.unit.making import body


class Connection:
    """A connection of one request; a broken one fails to respond."""

    lost = False
    client_address = "192.0.2.1:5060"
    local_address = "192.0.2.2:8000"

    def __init__(self, broken: bool) -> None:
        self.broken = broken
        self.statuses: list[int] = []
        self.aborted = False

    @property
    def responses(self) -> "Connection":
        return self

    def respond(self, request: Request, response: Response) -> None:
        if self.broken:
            raise RuntimeError("no way to respond")
        self.statuses.append(response.status)

    def abort(self) -> None:
        self.aborted = True

    def regulate(self) -> None: ...
    async def writable(self) -> None: ...
    def is_next(self, request: Request) -> bool:
        return True

    def send_continue(self, request: Request) -> None: ...
    def begin_stream(self, request: Request, response: Response) -> None: ...
    def write_part(self, request: Request, data: bytes) -> None: ...
    def end_stream(self, request: Request) -> None: ...


def send(events: DirectEvents, connection: Connection) -> None:
    headers = RequestHeaders([(b"x-api-token", TOKEN.encode())])
    request = Request(connection, Head("POST", b"/api/call-events", "1.1", headers, keep_alive=True))
    events.begin(request)
    events.receive(request, body())
    events.complete(request)


@pytest.mark.parametrize(("errors", "status"), [([], 200), ([StoreUnavailable()], 500)])
async def test_response_that_fails_holds_up_no_other_of_its_group(
    handler: EventHandler,
    admission: Admission,
    store: FakeStore,
    caplog: pytest.LogCaptureFixture,
    errors: list[Exception],
    status: int,
) -> None:
    store.errors.extend(errors)
    events = DirectEvents(handler, admission, BODY_BYTES_MAX)
    connections = [Connection(broken=broken) for broken in (False, True, False)]
    with caplog.at_level(logging.ERROR):
        for connection in connections:
            send(events, connection)
        await until(lambda: all(connection.statuses or connection.aborted for connection in connections))

    assert [connection.statuses for connection in connections] == [[status], [], [status]]
    assert [connection.aborted for connection in connections] == [False, True, False]
    assert "cannot send the response to an event" in caplog.text
