"""Idempotency keys are deleted when they expire."""

import pytest

from ingest.retention.idempotency_keys import FORGET_MAX, KeyCleaner
from tests.unit.fakes import FakeClock, FakeStore
from tests.unit.making import NOW_US

REMEMBER_SECONDS = 3600.0
DAYS = 40 * 86_400


@pytest.mark.parametrize(("here", "there"), [(0, 0), (DAYS, 0), (0, DAYS)])
async def test_keys_are_forgotten_only_if_both_clocks_say_so(here: int, there: int) -> None:
    clock, store = FakeClock(), FakeStore()
    clock.advance(here)
    store.us += there * 1_000_000

    await KeyCleaner(store, REMEMBER_SECONDS, clock.now_us).forget()

    assert store.forgotten == [(NOW_US // 1000 - 3_600_000, FORGET_MAX)]
