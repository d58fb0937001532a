"""The request id in the log and in the response to a refused request."""

import pytest

from ingest.http.admission import request_id_of
from tests.unit.fakes import FakeHeaders

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"x-request-id": "a-1.b:2_c"}, "a-1.b:2_c"),
        ({"x-request-id": "a-1", "traceparent": PARENT}, "a-1"),
        ({"traceparent": PARENT}, TRACE_ID),
        ({"x-request-id": "x" * 129, "traceparent": PARENT}, TRACE_ID),
    ],
)
def test_request_id_is_the_clients_own_or_its_trace_id(headers: dict[str, str | None], request_id: str) -> None:
    assert request_id_of(FakeHeaders(headers)) == request_id


@pytest.mark.parametrize("given", [None, "", "a b", "a\n", "<script>"])
def test_unsafe_or_missing_request_id_is_replaced(given: str | None) -> None:
    first, second = (request_id_of(FakeHeaders({"x-request-id": given})) for _ in range(2))

    assert given != first != second
    assert len(first) == 32
