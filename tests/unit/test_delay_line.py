import asyncio
from functools import partial

from ingest.delay_line import SLOT_SECONDS, DelayLine


async def test_each_callback_comes_after_its_delay_and_those_of_a_slot_come_together() -> None:
    line, loop, begun = DelayLine(), asyncio.get_running_loop(), asyncio.get_running_loop().time()
    called: list[tuple[int, float]] = []
    delays = [4 * SLOT_SECONDS, 0.0, SLOT_SECONDS, SLOT_SECONDS, SLOT_SECONDS / 4]

    def call(number: int) -> None:
        called.append((number, loop.time() - begun))

    for number, seconds in enumerate(delays):
        line.add(seconds, partial(call, number))
    assert line.count == len(delays)

    over = asyncio.Event()
    line.add(2 * max(delays), over.set)
    await over.wait()

    assert [number for number, _ in called][-1] == 0
    assert sorted(number for number, _ in called) == [0, 1, 2, 3, 4]
    assert all(late >= delays[number] for number, late in called)


async def test_callback_may_delay_another_one() -> None:
    line, over = DelayLine(), asyncio.Event()
    line.add(0.0, lambda: line.add(0.0, over.set))

    await over.wait()

    assert line.count == 0


async def test_callback_that_fails_holds_up_no_other() -> None:
    line, over = DelayLine(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    line.add(0.0, lambda: 1 // 0)
    line.add(0.0, over.set)

    async with asyncio.timeout(60.0):
        await over.wait()
