"""Each confirm of the broker is assigned to its message and batch."""

import asyncio

import pytest

from ingest.broker.amqp.confirms import ConfirmWindow, Pending
from ingest.errors import BrokerUnavailable
from ingest.events.batch import joined
from tests.unit.making import NOW_US, batch


def added(window: ConfirmWindow, size: int, us: int = NOW_US) -> Pending:
    return window.add(batch(size, us=us), asyncio.get_running_loop().create_future())


async def test_tags_begin_at_one_and_follow_one_another() -> None:
    window = ConfirmWindow()
    first, second = added(window, 3), added(window, 2)
    assert (first.first, first.last, second.first, second.last) == (1, 3, 4, 5)


async def test_batch_is_done_with_the_last_of_its_confirms() -> None:
    window = ConfirmWindow()
    pending = added(window, 3)
    for tag in (2, 3):
        window.answer(tag, multiple=False, refused=False)
        assert not pending.done.done()
    window.answer(1, multiple=False, refused=False)
    assert pending.done.done()
    assert not pending.refused


async def test_multiple_confirm_is_for_all_up_to_its_tag_over_batches() -> None:
    window = ConfirmWindow()
    first, second, third = added(window, 3), added(window, 3), added(window, 3)
    window.answer(5, multiple=True, refused=False)
    assert [pending.done.done() for pending in (first, second, third)] == [True, False, False]
    assert (second.open, third.open) == ({6}, {7, 8, 9})


async def test_batches_may_be_confirmed_out_of_order() -> None:
    window = ConfirmWindow()
    first, second = added(window, 2), added(window, 2)
    window.answer(3, multiple=False, refused=False)
    window.answer(4, multiple=False, refused=False)
    assert (first.done.done(), second.done.done()) == (False, True)
    window.answer(2, multiple=True, refused=False)
    assert first.done.done()
    assert len(window) == 0


async def test_refused_message_is_named_by_its_position_and_delays_no_other() -> None:
    window = ConfirmWindow()
    first, second = added(window, 2), added(window, 3)
    window.answer(4, multiple=False, refused=True)
    window.answer(5, multiple=True, refused=False)
    assert first.done.done()
    assert second.done.done()
    assert (first.refused, second.refused) == (set(), {1})


async def test_multiple_refusal_leaves_what_was_confirmed_before() -> None:
    window = ConfirmWindow()
    first, second = added(window, 3), added(window, 3)
    window.answer(2, multiple=False, refused=False)
    window.answer(5, multiple=True, refused=True)
    assert (first.refused, second.refused) == ({0, 2}, {0, 1})
    assert (first.done.done(), second.done.done()) == (True, False)


async def test_unknown_tag_is_ignored() -> None:
    window = ConfirmWindow()
    pending = added(window, 1)
    window.answer(1, multiple=False, refused=False)
    window.answer(1, multiple=False, refused=True)
    window.answer(99, multiple=False, refused=True)
    assert not pending.refused
    later = added(window, 1)
    window.answer(0, multiple=True, refused=False)
    assert not later.done.done()


async def test_returned_message_is_found_by_its_id() -> None:
    window = ConfirmWindow()
    first, second = added(window, 3), added(window, 3, us=NOW_US + 1000)
    window.returned(second.batch.ids[1])
    window.returned(second.batch.ids[2] + 1)
    assert (first.returned, second.returned) == (set(), {1})
    assert second.open == {4, 5, 6}  # its confirm follows


async def test_failure_ends_every_wait_once() -> None:
    window = ConfirmWindow()
    pending, cancelled = added(window, 2), added(window, 2)
    cancelled.done.cancel()
    window.fail(lambda: BrokerUnavailable("gone"))
    window.fail(lambda: BrokerUnavailable("gone again"))
    with pytest.raises(BrokerUnavailable, match="gone"):
        await pending.done
    assert len(window) == 0


async def test_length_is_the_number_of_messages_in_flight() -> None:
    window = ConfirmWindow()
    added(window, 3)
    added(window, 2)
    assert len(window) == 5
    window.answer(4, multiple=True, refused=False)
    assert len(window) == 1


async def test_returned_message_is_found_where_ids_descend() -> None:
    """This happens if batches of two producers, committed in the other order, are published together."""
    window = ConfirmWindow()
    early, late = batch(2, us=NOW_US), batch(2, us=NOW_US + 1000)
    pending = window.add(joined([late, early]), asyncio.get_running_loop().create_future())
    window.returned(early.ids[1])
    assert pending.returned == {3}
