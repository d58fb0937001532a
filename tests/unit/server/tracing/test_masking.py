import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.util.types import Attributes

from ingest.server.tracing.masking import MaskingExporter

NUMBER = "+4930901820001"
PASSWORD = "a-password-of-the-tests"
URL = f"amqp://ingest:{PASSWORD}@mq:5672/"
QUOTED = f'Data too long: \'{NUMBER}\' in {{"from_number": "{NUMBER}"}} at {URL}'


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def failed(exporter: InMemorySpanExporter) -> ReadableSpan:
    """A span in which a driver raised an error that quotes an event and a URL."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(MaskingExporter(exporter)))
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("request") as request:
        link = Link(request.get_span_context())
    attributes: Attributes = {"quoted": QUOTED, "list": [URL, "short"], "size": 4930901820001, "ok": True}
    with (
        pytest.raises(ValueError, match="Data too long"),
        tracer.start_as_current_span(f"send {NUMBER}", None, SpanKind.PRODUCER, attributes, [link]),
    ):
        raise ValueError(QUOTED)
    provider.shutdown()
    _, span = exporter.get_finished_spans()
    return span


def test_no_text_of_a_span_has_a_secret_or_a_number(failed: ReadableSpan) -> None:
    shown = failed.to_json()
    assert [secret for secret in (PASSWORD, NUMBER, "from_number") if secret in shown] == []


def test_what_is_no_secret_stays(failed: ReadableSpan) -> None:
    assert failed.name == "send ***01"
    assert failed.attributes is not None
    assert failed.attributes["size"] == 4930901820001
    assert failed.attributes["ok"] is True
    assert failed.attributes["list"] == ["amqp://ingest:***@mq:5672/", "short"]
    assert (failed.kind, failed.status.status_code) == (SpanKind.PRODUCER, StatusCode.ERROR)
    assert failed.status.description == "ValueError: Data too long: '***01' in {…}"
    (event,) = failed.events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "ValueError"
    assert "test_masking.py" in str(event.attributes["exception.stacktrace"])
    assert len(failed.links) == 1
    assert failed.start_time
    assert failed.end_time
