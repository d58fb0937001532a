"""Arrivals of events at a consumer of the stream."""

import math
from array import array

import pytest

from bench.harness.arrivals import number_of
from bench.openloop.http import Requests
from bench.openloop.plan import Recording
from bench.studies.arrival import arrived
from ingest.broker.stream.message import encode


@pytest.mark.parametrize("number", [0, 1, 2, 3, 44_444])
def test_message_tells_the_number_of_its_request(number: int) -> None:
    body = Requests("token")[number].partition(b"\r\n\r\n")[2]
    assert number_of(encode(1, "call_started", body, 0)) == number


def test_message_of_another_event_has_no_number() -> None:
    assert number_of(encode(1, "call_started", b'{"call_id": "mine"}', 0)) is None


def test_arrival_counts_from_the_due_time() -> None:
    recording = Recording(100.0, array("d", [0.5, 1.5]), array("d"), array("d"), {}, 0.0)
    first, second = arrived(recording, {0: 100.75})
    assert first == pytest.approx(0.25)
    assert math.isnan(second)
