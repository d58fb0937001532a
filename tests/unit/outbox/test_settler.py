from collections.abc import AsyncIterator

import pytest

from ingest.errors import StoreUnavailable
from ingest.outbox.settler import ENTRIES_MAX, ENTRIES_MIN, Settler
from tests.unit.fakes import FakeStore, until


@pytest.fixture
async def settler(store: FakeStore) -> AsyncIterator[Settler]:
    settler = Settler(store)
    yield settler
    await settler.close()


async def test_entries_settle_with_the_next_commit(settler: Settler, store: FakeStore) -> None:
    settler.add(range(ENTRIES_MIN))

    assert settler.take() == list(range(ENTRIES_MIN))
    assert settler.take() == []
    await settler.drain()
    assert store.settled == []


async def test_entries_are_settled_by_a_timer_when_no_commit_comes(settler: Settler, store: FakeStore) -> None:
    settler.add([11, 12])

    await until(lambda: store.settled)

    assert store.settled == [11, 12]


async def test_settling_is_tried_again_after_a_failure(settler: Settler, store: FakeStore) -> None:
    store.settle_errors.extend([StoreUnavailable(), StoreUnavailable()])
    settler.add([11])

    await until(lambda: store.settled)

    assert store.settled == [11]


async def test_settling_that_breaks_unexpectedly_is_logged(
    settler: Settler, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.settle_errors.append(ZeroDivisionError("a bug"))  # type: ignore[arg-type]
    settler.add([11])

    await until(lambda: "settling failed unexpectedly" in caplog.text)


async def test_one_commit_settles_a_bounded_number(settler: Settler) -> None:
    settler.add(range(ENTRIES_MAX + ENTRIES_MIN))

    assert settler.take() == list(range(ENTRIES_MAX))
    assert len(settler.take()) == ENTRIES_MIN


async def test_a_commit_does_not_settle_a_few(settler: Settler, store: FakeStore) -> None:
    few = list(range(ENTRIES_MIN - 1))
    settler.add(few)

    assert settler.take() == []
    await until(lambda: store.settled)

    assert store.settled == few


async def test_drain_settles_also_more_than_one_commit_would(settler: Settler, store: FakeStore) -> None:
    first_ids = list(range(2 * ENTRIES_MAX + 7))
    settler.add(first_ids)

    await settler.drain()

    assert store.settled == first_ids


async def test_drain_ends_when_the_store_fails(settler: Settler, store: FakeStore) -> None:
    store.settle_errors.append(StoreUnavailable())
    settler.add([11])

    await settler.drain()

    assert store.settled == []
