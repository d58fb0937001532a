"""A trace goes from a request's traceparent to the message's, with or without spans at a collector."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.collector import Collector, Span, collecting
from tests.contract.broker.publishers import channel_to
from tests.running import EVENT, ServiceProcess
from tests.services import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENTS_SPAN = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{CLIENTS_SPAN}-01"
NOT_SAMPLED = f"00-{TRACE}-{CLIENTS_SPAN}-00"
STATE = "rojo=00f067aa0ba902b7"
NUMBER = "4930901820001"
SECONDS = 60.0
SERVER, CLIENT, PRODUCER = 2, 3, 4


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def traced(tmp_path: Path, full_settings: Mapping[str, str], collector: Collector) -> Iterator[ServiceProcess]:
    """The service, which exports spans to the collector."""
    service = ServiceProcess(tmp_path, {**full_settings, "TRACING": "otlp"})
    service.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with service:
        service.wait_for_status("ready")
        yield service


def headers_of_messages(service: ServiceProcess, count: int) -> list[dict[str, Any]]:
    """Return the trace headers of the next messages, in order, as a consumer sees them."""
    found: list[dict[str, Any]] = []
    with channel_to(service.environment["INGEST_BROKER_URL"]) as channel:
        for _, properties, _ in channel.consume(
            service.environment["INGEST_QUEUE"], auto_ack=True, inactivity_timeout=SECONDS
        ):
            assert properties, f"{len(found)} messages came"
            found.append(properties.headers or {})
            if len(found) == count:
                channel.cancel()
                return found
    raise AssertionError("the queue was deleted")


def parts(traceparent: str) -> list[str]:
    """Return trace id, span id and flags."""
    return traceparent.split("-")[1:]


def test_trace_goes_from_the_request_to_the_message(traced: ServiceProcess, collector: Collector) -> None:
    assert traced.post(EVENT, traceparent=SAMPLED, tracestate=STATE)[0] == 200
    (carried,) = headers_of_messages(traced, 1)
    assert wait_until(lambda: len(collector.spans) >= 3, SECONDS), traced.log()
    (receive,) = collector.named("POST /api/call-events")
    (commit,) = collector.named("commit call_event_logs")
    (send,) = collector.named(f"send {traced.environment['INGEST_QUEUE']}")

    assert (receive.trace_id, receive.parent_id, receive.kind) == (TRACE, CLIENTS_SPAN, SERVER)
    assert receive.attributes["http.response.status_code"] == 200
    assert parts(carried["traceparent"]) == [TRACE, receive.span_id, "01"]
    assert carried["tracestate"] == STATE
    assert (commit.kind, send.kind) == (CLIENT, PRODUCER)
    assert list(commit.links) == list(send.links) == [(TRACE, receive.span_id)]
    assert {span.service for span in collector.spans} == {"call-events-ingest"}


def test_batch_is_one_span_with_a_link_for_each_request(traced: ServiceProcess, collector: Collector) -> None:
    items = json.dumps([EVENT] * 5).encode()
    assert traced.post(items, path="/api/call-events/batch", traceparent=SAMPLED)[0] == 200
    carried = headers_of_messages(traced, 5)

    def all_exported() -> bool:
        commits = collector.named("commit call_event_logs")
        committed = sum(commit.attributes["db.operation.batch.size"] for commit in commits)
        return committed == 5 and bool(collector.named("POST /api/call-events/batch"))

    assert wait_until(all_exported, SECONDS), traced.log()
    (receive,) = collector.named("POST /api/call-events/batch")
    assert {one["traceparent"] for one in carried} == {f"00-{TRACE}-{receive.span_id}-01"}
    commits = collector.named("commit call_event_logs")
    assert sum(commit.attributes["db.operation.batch.size"] for commit in commits) == 5
    assert {link for commit in commits for link in commit.links} == {(TRACE, receive.span_id)}


def test_refusal_is_exported_without_what_the_client_wrote(traced: ServiceProcess, collector: Collector) -> None:
    assert traced.post(b"{", traceparent=SAMPLED)[0] == 400
    assert traced.post(b"{}", path="/in/kamailio/a-secret-token", traceparent=SAMPLED)[0] == 401
    assert traced.post(b"{}", path=f"/in/{NUMBER}?token=a-secret-token", traceparent=SAMPLED)[0] == 404
    assert traced.request("PURGE", "/api/call-events", headers={"traceparent": SAMPLED})[0] == 405

    def told() -> dict[str, Span]:
        return {span.name: span for span in collector.spans}

    assert wait_until(lambda: len(told()) == 4, SECONDS), told()
    assert told()["POST /api/call-events"].attributes["http.response.status_code"] == 400
    assert told()["POST /in/kamailio/{token}"].attributes["http.response.status_code"] == 401
    assert told()["POST /in/{client}/{token}"].attributes["http.response.status_code"] == 404
    assert told()["HTTP /api/call-events"].attributes["http.request.method"] == "_OTHER"
    assert "a-secret-token" not in str(collector.spans)
    assert NUMBER not in str(collector.spans)


def test_unsampled_trace_is_propagated_but_not_exported(traced: ServiceProcess, collector: Collector) -> None:
    traced.post(EVENT, traceparent=NOT_SAMPLED)
    traced.post(EVENT, traceparent=SAMPLED)
    first, second = headers_of_messages(traced, 2)
    assert wait_until(lambda: len(collector.spans) >= 3, SECONDS), traced.log()
    traced.stop()  # exports the remaining spans
    assert len(collector.named("POST /api/call-events")) == 1
    assert len(collector.named("commit call_event_logs")) == 1
    assert parts(first["traceparent"])[2] == "00"
    assert parts(second["traceparent"])[2] == "01"


def test_collector_that_is_away_costs_no_event(tmp_path: Path, full_settings: Mapping[str, str]) -> None:
    service = ServiceProcess(tmp_path, {**full_settings, "TRACING": "otlp"})
    service.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with service:
        assert service.post(EVENT)[0] == 200
        (carried,) = headers_of_messages(service, 1)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", carried["traceparent"])


def test_without_tracing_context_and_token_are_propagated(tmp_path: Path, full_settings: Mapping[str, str]) -> None:
    with ServiceProcess(tmp_path, full_settings) as service:
        token = service.command("tokens", "create", "pbx-1").stdout.split()[-1]
        assert wait_until(lambda: service.post(EVENT, **{"X-API-TOKEN": token})[0] == 200, SECONDS)
        service.post(EVENT, traceparent=SAMPLED, tracestate=STATE)
        service.post(EVENT, traceparent="wrong")
        carried = headers_of_messages(service, 3)
    assert carried == [{"token": "pbx-1"}, {"traceparent": SAMPLED, "tracestate": STATE}, {}]
