from collections.abc import Mapping

import pytest

from ingest.http.trace_context import propagate_trace_context
from tests.unit.fakes import FakeHeaders

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TOKEN = {"token": "pbx-1"}


def head(given: Mapping[str, str] | None = None, /, **headers: str) -> FakeHeaders:
    return FakeHeaders({**(given or {}), **headers})


def test_trace_context_is_copied_unchanged() -> None:
    assert propagate_trace_context(head(traceparent=PARENT), None) == {"traceparent": PARENT}
    state = {"traceparent": PARENT, "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}
    assert propagate_trace_context(head(state), TOKEN) == state | TOKEN


def test_request_without_trace_context_has_the_headers_of_its_client() -> None:
    assert propagate_trace_context(head(), None) is None
    assert propagate_trace_context(head(tracestate="rojo=1"), TOKEN) is TOKEN


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        PARENT + "-00",
        PARENT[:-1],
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        "ff" + PARENT[2:],
        "01" + PARENT[2:] + "\r\nx: y",
        "01-" + "a" * 300,
    ],
)
def test_invalid_trace_context_is_left_out(parent: str) -> None:
    assert propagate_trace_context(head(traceparent=parent, tracestate="rojo=1"), None) is None


def test_later_versions_may_have_more_fields() -> None:
    assert propagate_trace_context(head(traceparent="01" + PARENT[2:] + "-extra"), None) == {
        "traceparent": "01" + PARENT[2:] + "-extra"
    }


def test_too_long_state_is_left_out() -> None:
    assert propagate_trace_context(head(traceparent=PARENT, tracestate="r=" + "1" * 511), None) == {
        "traceparent": PARENT
    }
