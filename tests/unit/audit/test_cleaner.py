"""Old audit entries are deleted."""

import pytest

from ingest.audit.cleaner import DAY_US, FORGET_MAX, AuditCleaner
from ingest.errors import StoreError, StoreUnavailable
from tests.unit.fakes import FakeClock, FakeStore
from tests.unit.making import NOW_US

DAYS = 30


class FullTable(FakeStore):
    """Has more entries than one transaction may delete."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    async def forget_audit(self, before_us: int, limit: int) -> int:
        deleted = min(self.left, limit)
        self.left -= deleted
        return deleted


class FailingTable(FakeStore):
    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self._error = error

    async def forget_audit(self, before_us: int, limit: int) -> int:
        raise self._error


def no_failure() -> None:
    raise AssertionError("nobody has to do anything")


@pytest.mark.parametrize(("here", "there"), [(0, 0), (400, 0), (0, 400)])
async def test_entries_are_deleted_only_if_both_clocks_say_so(here: int, there: int) -> None:
    clock, store = FakeClock(), FakeStore()
    clock.advance(here * 86_400)
    store.us += there * DAY_US

    await AuditCleaner(store, DAYS, clock.now_us, no_failure).forget_old()

    assert store.forgotten == [(NOW_US - DAYS * DAY_US, FORGET_MAX)]


async def test_all_old_entries_are_deleted() -> None:
    table = FullTable(2 * FORGET_MAX + 1)

    await AuditCleaner(table, DAYS, FakeClock().now_us, no_failure).forget_old()

    assert table.left == 0


@pytest.mark.parametrize(("error", "counted"), [(StoreUnavailable("away"), 0), (StoreError("DELETE denied"), 1)])
async def test_failure_that_does_not_pass_by_itself_is_counted(error: StoreError, counted: int) -> None:
    failures: list[None] = []

    await AuditCleaner(FailingTable(error), DAYS, FakeClock().now_us, lambda: failures.append(None)).forget_old()

    assert len(failures) == counted
