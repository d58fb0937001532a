"""The made-up calls are possible ones."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from ingest.cli.demo.pbx import Pbx
from ingest.events.event import decode

BEGAN = datetime(2025, 1, 31, 13, 45, tzinfo=UTC)
PLAYED_SECONDS = 300
EVENTS_PER_SECOND = 20


def played(pbx: Pbx) -> Iterator[dict[str, Any]]:
    for number in range(PLAYED_SECONDS * EVENTS_PER_SECOND):
        seconds = number / EVENTS_PER_SECOND
        if event := pbx.next_event(seconds, BEGAN + timedelta(seconds=seconds)):
            yield event


@pytest.fixture(scope="module")
def pbx() -> Pbx:
    return Pbx(200, Random(1))


@pytest.fixture(scope="module")
def events(pbx: Pbx) -> list[dict[str, Any]]:
    return list(played(pbx))


def test_every_event_is_valid(events: list[dict[str, Any]]) -> None:
    for event in events:
        decode(msgspec.json.encode(event))


def test_events_come_at_the_full_rate_from_the_begin(events: list[dict[str, Any]]) -> None:
    assert len(events) == PLAYED_SECONDS * EVENTS_PER_SECOND


def test_calls_are_answered_missed_and_hung_up_in_this_order(events: list[dict[str, Any]], pbx: Pbx) -> None:
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        calls[event["call_id"]].append(event)
    ended = [call for call in calls.values() if call[-1]["event_type"] == "call_ended"]
    causes = Counter(call[-1]["hangup_cause"] for call in ended)

    assert len(calls) == pbx.calls == len(ended) + pbx.active
    assert causes["normal_clearing"] > causes["no_answer"] > causes["originator_cancel"] > 0
    for call in ended:
        answered = call[-1]["hangup_cause"] == "normal_clearing"
        middle = ["call_answered"] if answered else []
        assert [event["event_type"] for event in call] == ["call_started", *middle, "call_ended"]
        assert (call[-1]["duration"] >= 3) == answered


def test_extension_has_one_call_at_a_time(events: list[dict[str, Any]]) -> None:
    busy: dict[str, str] = {}
    for event in events:
        own = [number for number in (event["from_number"], event["to_number"]) if len(number) == 4]
        if event["event_type"] == "call_started":
            assert not [number for number in own if number in busy]
            busy.update(dict.fromkeys(own, event["call_id"]))
        if event["event_type"] == "call_ended":
            assert [busy.pop(number) for number in own] == [event["call_id"]] * len(own)


def test_busy_pbx_begins_no_call() -> None:
    small = Pbx(2, Random(1))
    first = [small.next_event(0.0, BEGAN) for _ in range(3)]

    assert list(played(Pbx(3, Random(1))))  # two phones ring each other only if both are idle
    assert first[0]
    assert first[-1] is None
    assert small.next_event(1000.0, BEGAN)
