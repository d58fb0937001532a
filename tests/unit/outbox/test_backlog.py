"""The backlog is known, or shown as unknown; it is never shown as 0 where nobody looked."""

import pytest

from ingest.errors import StoreUnavailable
from ingest.outbox.backlog import BacklogWatch
from ingest.outbox.base import Backlog
from ingest.telemetry.metrics import UNKNOWN, Metrics
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeStore

GAUGES = ("backlog_events", "outbox_entries", "backlog_age_seconds", "dead_letters")
SLOW = "MySQL did not answer within 5 s."


class WaitingStore(FakeStore):
    """Has `waiting` in its outbox, unless `problem` keeps it from looking."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Backlog(12, 3.5, 4)
        self.problem: Exception | None = None

    async def backlog(self) -> Backlog:
        if self.problem:
            raise self.problem
        return self.waiting


@pytest.fixture
def store() -> WaitingStore:
    return WaitingStore()


@pytest.fixture
def watch(store: WaitingStore, metrics: Metrics) -> BacklogWatch:
    return BacklogWatch(store, metrics)


def shown(sample: Sample) -> list[float]:
    return [sample(f"ingest_{name}") for name in GAUGES]


async def test_gauges_show_what_waits(watch: BacklogWatch, sample: Sample) -> None:
    await watch.look()

    assert shown(sample) == [12, 4, 3.5, 0]
    assert watch.problem() is None


async def test_nothing_is_known_before_the_first_look(watch: BacklogWatch, sample: Sample) -> None:
    assert shown(sample) == [UNKNOWN] * 4
    assert watch.problem() is None


async def test_what_could_not_be_looked_at_is_unknown_and_says_why(
    watch: BacklogWatch, store: WaitingStore, sample: Sample
) -> None:
    await watch.look()
    store.problem = StoreUnavailable(SLOW)
    await watch.look()

    assert shown(sample) == [UNKNOWN] * 4
    assert watch.problem() == f"unknown: {SLOW}"

    store.problem = None
    await watch.look()
    assert watch.problem() is None
