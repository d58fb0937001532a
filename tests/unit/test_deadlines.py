import asyncio
import time

import pytest

from ingest.deadlines import LATE_SECONDS, deadline

SECONDS = 0.02


async def passes(stood_still_seconds: float) -> bool:
    try:
        async with deadline(SECONDS):
            time.sleep(stood_still_seconds)  # noqa: ASYNC251 - suspends the process
            await asyncio.sleep(60)
    except TimeoutError:
        return True
    return False


async def test_deadline_expires_after_a_suspension() -> None:
    assert await passes(0.0)
    assert await passes(SECONDS + 2 * LATE_SECONDS)


async def test_work_in_time_is_not_disturbed() -> None:
    async with deadline(SECONDS):
        await asyncio.sleep(0)
    await asyncio.sleep(2 * SECONDS)


async def test_answer_during_a_suspension_is_accepted() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with deadline(SECONDS):
        time.sleep(SECONDS + 2 * LATE_SECONDS)  # noqa: ASYNC251 - suspends the process
        asyncio.get_running_loop().call_later(SECONDS / 2, answer.set_result, "late")
        assert await answer == "late"


async def test_deadline_restarts_while_there_is_a_reason() -> None:
    reasons = [False, True, True]
    with pytest.raises(TimeoutError):
        async with deadline(SECONDS, unless=reasons.pop):
            await asyncio.Future()
    assert reasons == []


async def test_none_means_no_deadline() -> None:
    async with deadline(None):
        await asyncio.sleep(SECONDS)
    with pytest.raises(TimeoutError):
        async with deadline(0.0):
            await asyncio.Future()
