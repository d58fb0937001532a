"""Idempotency keys are deleted when they expire."""

import pytest

from ingest.errors import StoreError, StoreUnavailable
from ingest.retention.idempotency_keys import FORGET_MAX, KeyCleaner
from tests.unit.fakes import FakeClock, FakeStore
from tests.unit.making import NOW_US

REMEMBER_SECONDS = 3600.0
DAYS = 40 * 86_400


class FailingTable(FakeStore):
    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self._error = error

    async def forget_keys(self, before_ms: int, limit: int) -> int:
        raise self._error


def no_failure() -> None:
    raise AssertionError("nobody has to do anything")


@pytest.mark.parametrize(("error", "counted"), [(StoreUnavailable("away"), 0), (StoreError("DELETE denied"), 1)])
async def test_failure_that_does_not_pass_by_itself_is_counted(error: StoreError, counted: int) -> None:
    failures: list[None] = []
    cleaner = KeyCleaner(FailingTable(error), REMEMBER_SECONDS, FakeClock().now_us, lambda: failures.append(None))

    await cleaner.forget_all()

    assert len(failures) == counted


@pytest.mark.parametrize(("here", "there"), [(0, 0), (DAYS, 0), (0, DAYS)])
async def test_keys_are_forgotten_only_if_both_clocks_say_so(here: int, there: int) -> None:
    clock, store = FakeClock(), FakeStore()
    clock.advance(here)
    store.us += there * 1_000_000

    await KeyCleaner(store, REMEMBER_SECONDS, clock.now_us, no_failure).forget()

    assert store.forgotten == [(NOW_US // 1000 - 3_600_000, FORGET_MAX)]
