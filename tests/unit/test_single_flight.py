import asyncio

import pytest

from ingest.single_flight import SingleFlight
from tests.unit.fakes import FakeClock

KEEP_SECONDS = 1.0


class Source:
    """Each call waits until `open`, and returns its number."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.wrong = False

    async def make(self) -> int:
        self.calls += 1
        await self.gate.wait()
        if self.wrong:
            raise ValueError("no result")
        return self.calls


async def test_callers_at_the_same_time_share_one_call(clock: FakeClock) -> None:
    source = Source()
    flight = SingleFlight(source.make, 0.0, clock.monotonic)
    callers = [asyncio.create_task(flight.result()) for _ in range(5)]
    await asyncio.sleep(0)
    source.gate.set()
    assert await asyncio.gather(*callers) == [1] * 5
    assert await flight.result() == 2


async def test_result_stays_for_its_time_from_its_end_on(clock: FakeClock) -> None:
    source = Source()
    flight = SingleFlight(source.make, KEEP_SECONDS, clock.monotonic)
    first = asyncio.create_task(flight.result())
    await asyncio.sleep(0)
    clock.seconds += 10
    source.gate.set()
    assert await first == 1
    clock.seconds += KEEP_SECONDS - 0.1
    assert await flight.result() == 1
    clock.seconds += 0.1
    assert await flight.result() == 2


async def test_cancelled_caller_does_not_end_the_call_of_the_others(clock: FakeClock) -> None:
    source = Source()
    flight = SingleFlight(source.make, KEEP_SECONDS, clock.monotonic)
    gone, other = asyncio.create_task(flight.result()), asyncio.create_task(flight.result())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    assert await other == 1
    assert source.calls == 1


async def test_failure_stays_as_long_as_a_result(clock: FakeClock) -> None:
    source = Source()
    source.gate.set()
    source.wrong = True
    flight = SingleFlight(source.make, KEEP_SECONDS, clock.monotonic)
    for _ in range(2):
        with pytest.raises(ValueError, match="no result"):
            await flight.result()
    source.wrong = False
    clock.seconds += KEEP_SECONDS
    assert await flight.result() == 2
