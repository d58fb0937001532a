"""Streams keep each event of a producer once, also events that were published out of sequence."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import msgspec
import pytest

from ingest.broker.base import OrderedPublisher
from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.events.event import Event
from tests.contract.broker.publishers import (
    Stream,
    all_of,
    publishing,
    removed,
)
from tests.contract.broker.simulated import SimulatedStream
from tests.unit.making import NOW_US, batch

FRAME_BYTES_MAX = 1_048_576
"""RabbitMQ's default `stream.frame_max`."""


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.servers)])
async def stream(request: pytest.FixtureRequest) -> AsyncIterator[Stream]:
    simulated = request.param == "simulated"
    stream = SimulatedStream() if simulated else Stream(request.getfixturevalue("rabbitmq"))
    async with removed(stream):
        yield stream


def by(producer: int, *made: Batch) -> list[Batch]:
    return [msgspec.structs.replace(each, producer=producer) for each in made]


async def test_stream_has_each_event_of_a_producer_once(stream: Stream) -> None:
    older, newer = by(7, batch(3), batch(3, us=NOW_US + 1000))
    async with publishing(stream.publisher()) as first, publishing(stream.publisher()) as second:
        for publisher, each in ((first, older), (second, older), (first, newer), (second, newer), (first, older)):
            await publisher.publish(each, "relay")
        await asyncio.gather(first.publish(newer), first.publish(newer, "relay"))
        (last,) = by(7, batch(1, us=NOW_US + 2000))
        await first.publish(last)
        found = await stream.read(all_of([str(last.first_id)]))
    assert [int(m.message_id) for m in found] == [*older.ids, *newer.ids, *last.ids]


async def test_stream_gets_events_of_a_producer_that_are_out_of_sequence(stream: Stream) -> None:
    """The broker confirms and drops them. `publish_once` searches for them."""
    first, second, third, last = by(7, *(batch(2, us=NOW_US + number * 1000) for number in range(4)))
    async with publishing(stream.publisher()) as publisher:
        for each in (first, third, second):
            await publisher.publish(each)
        ordered = cast(OrderedPublisher, publisher)
        await ordered.publish_once([first, second, third, last])
        await ordered.publish_once([first, second, third, last])
        (end,) = by(7, batch(1, us=NOW_US + 9000))
        await publisher.publish(end)
        found = await stream.read(all_of([str(end.first_id)]))
    assert [int(m.message_id) for m in found] == [*first.ids, *third.ids, *last.ids, *second.ids, *end.ids]


async def test_stream_gets_discarded_events_and_none_twice(stream: Stream) -> None:
    first, second, third = by(7, *(batch(2, us=NOW_US + number * 1000) for number in range(3)))
    (other,) = by(8, batch(2, us=NOW_US + 5000))
    async with publishing(stream.publisher()) as publisher:
        for each in (third, first, second, other):
            await publisher.publish(each)
        ordered = cast(OrderedPublisher, publisher)
        for _ in range(2):
            await ordered.publish_once([first, other, second])
        await ordered.publish_once([third])
        (end,) = by(7, batch(1, us=NOW_US + 9000))
        await publisher.publish(end)
        found = await stream.read(all_of([str(end.first_id)]))
    assert [int(m.message_id) for m in found] == [*third.ids, *other.ids, *first.ids, *second.ids, *end.ids]


async def test_stream_gets_events_discarded_between_newer_ones(stream: Stream) -> None:
    """The stream has the newest event of the batches, but lacks an older one."""
    first, second, third = by(7, *(batch(2, us=NOW_US + number * 1000) for number in range(3)))
    (other,) = by(8, batch(2, us=NOW_US + 5000))
    async with publishing(stream.publisher()) as publisher:
        ordered = cast(OrderedPublisher, publisher)
        await publisher.publish(second)
        await ordered.publish_once([first, other, third])
        (end,) = by(7, batch(1, us=NOW_US + 9000))
        await publisher.publish(end)
        found = await stream.read(all_of([str(end.first_id)]))
    assert [int(m.message_id) for m in found] == [*second.ids, *other.ids, *third.ids, *first.ids, *end.ids]


async def test_too_large_event_does_not_keep_others_from_being_republished(stream: Stream) -> None:
    bodies = [b'"%b"' % (b"x" * size) for size in (10, FRAME_BYTES_MAX + 1, 20)]
    (with_large,) = by(7, batch([Event("call-1", "call_started", body) for body in bodies]))
    second, newer = by(7, *(batch(2, us=NOW_US + number * 1000) for number in (1, 2)))
    async with publishing(stream.publisher()) as publisher:
        ordered = cast(OrderedPublisher, publisher)
        await publisher.publish(with_large.picked([0]))
        await publisher.publish(newer)
        refused = await ordered.publish_once([with_large, second])
        (end,) = by(7, batch(1, us=NOW_US + 9000))
        await publisher.publish(end)
        found = await stream.read(all_of([str(end.first_id)]))
    first, _, third = with_large.ids
    assert [int(m.message_id) for m in found] == [first, *newer.ids, third, *second.ids, *end.ids]
    assert [(each, exc.positions, exc.never) for each, exc in refused] == [(with_large, [1], [1])]


async def test_search_for_several_producers_ends_at_the_last_newest_event(stream: Stream) -> None:
    soon_over = by(7, *(batch(2, us=NOW_US + number * 1000) for number in range(2)))
    long_going = by(8, *(batch(2, us=NOW_US + number * 1000) for number in range(5, 7)))
    async with publishing(stream.publisher()) as publisher:
        for each in (soon_over[1], *long_going):
            await publisher.publish(each)
        await cast(OrderedPublisher, publisher).publish_once([soon_over[0], long_going[0]])
        (end,) = by(7, batch(1, us=NOW_US + 9000))
        await publisher.publish(end)
        found = await stream.read(all_of([str(end.first_id)]))
    in_order = (soon_over[1], *long_going, soon_over[0], end)
    assert [int(m.message_id) for m in found] == [event_id for each in in_order for event_id in each.ids]


@pytest.mark.parametrize("ahead_seconds", [-86_400 * 40, -60, 0, 60, 86_400 * 40])
async def test_stream_is_searched_although_a_producers_clock_is_wrong(stream: Stream, ahead_seconds: int) -> None:
    """The clocks of producer, broker and searcher may differ. An event that was not searched for is not missing."""
    us = unix_us() + ahead_seconds * 1_000_000
    first, second, third, fourth = by(7, *(batch(2, us=us + number * 1000) for number in range(4)))
    async with publishing(stream.publisher()) as publisher:
        for each in (first, second, fourth):
            await publisher.publish(each)
        await cast(OrderedPublisher, publisher).publish_once([second, third])
        (end,) = by(7, batch(1, us=us + 9000))
        await publisher.publish(end)
        found = await stream.read(all_of([str(end.first_id)]))
    in_order = (first, second, fourth, third, end)
    assert [int(m.message_id) for m in found] == [event_id for each in in_order for event_id in each.ids]


async def test_discarded_events_are_republished_in_any_order(stream: Stream) -> None:
    """A relay of the outbox and one of a spool both find them missing."""
    first, second, third = by(7, *(batch(2, us=NOW_US + number * 1000) for number in range(3)))
    async with publishing(stream.publisher()) as relay, publishing(stream.publisher()) as other:
        for each in (third, second, first):
            await relay.publish(each)
        await cast(OrderedPublisher, relay).publish_once([second])
        await cast(OrderedPublisher, other).publish_once([first])
        await cast(OrderedPublisher, other).publish_once([second])
        (end,) = by(7, batch(1, us=NOW_US + 9000))
        await relay.publish(end)
        found = await stream.read(all_of([str(end.first_id)]))
    assert [int(m.message_id) for m in found] == [*third.ids, *second.ids, *first.ids, *end.ids]
