import asyncio
import time

import pytest

from ingest.deadlines import LATE_SECONDS, deadline

SECONDS = 0.02


async def passes(stood_still_seconds: float) -> bool:
    try:
        async with deadline(SECONDS):
            time.sleep(stood_still_seconds)  # noqa: ASYNC251 - as if it was frozen
            await asyncio.sleep(60)
    except TimeoutError:
        return True
    return False


async def test_deadline_passes_after_a_standstill_too() -> None:
    assert await passes(0.0)
    assert await passes(SECONDS + 2 * LATE_SECONDS)


async def test_who_is_in_time_notices_nothing() -> None:
    async with deadline(SECONDS):
        await asyncio.sleep(0)
    await asyncio.sleep(2 * SECONDS)


async def test_answer_that_came_while_the_process_stood_still_is_taken() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with deadline(SECONDS):
        time.sleep(SECONDS + 2 * LATE_SECONDS)  # noqa: ASYNC251 - stands still
        asyncio.get_running_loop().call_later(SECONDS / 2, answer.set_result, "late")
        assert await answer == "late"


async def test_as_much_time_again_is_given_as_long_as_there_is_a_reason() -> None:
    reasons = [False, True, True]
    with pytest.raises(TimeoutError):
        async with deadline(SECONDS, unless=reasons.pop):
            await asyncio.Future()
    assert reasons == []


async def test_none_is_no_deadline_and_nothing_is_one() -> None:
    async with deadline(None):
        await asyncio.sleep(SECONDS)
    with pytest.raises(TimeoutError):
        async with deadline(0.0):
            await asyncio.Future()
