"""aiormq's futures end in one order in each run."""

import asyncio

from aiormq.base import FutureStore

from tests.simulation.rabbitmq.order import order_futures


async def test_the_newest_future_ends_first() -> None:
    order_futures()
    store, ended = FutureStore(asyncio.get_running_loop()), list[int]()
    for number in range(50):
        store.create_future().add_done_callback(lambda _, number=number: ended.append(number))  # type: ignore[misc]

    await store.reject_all(None)

    assert ended == list(reversed(range(50)))
