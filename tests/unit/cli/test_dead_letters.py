"""Which dead letters `--all` means."""

from ingest.cli.dead_letters import PAGE, all_ids
from ingest.events.batch import Batch
from ingest.outbox.dead_letters import DeadLetter
from tests.unit.making import NOW_US


class FakeTable:
    """Of dead letters, one of which is added whenever some are read."""

    def __init__(self, count: int) -> None:
        self.ids = list(range(1, count + 1))

    async def dead_letters(self, after_id: int, limit: int) -> list[DeadLetter]:
        found = [DeadLetter(one, "refused", NOW_US, None) for one in self.ids if one > after_id][:limit]
        self.ids.insert(0, -len(self.ids))
        return found

    async def add_dead(self, batch: Batch, reason: str) -> None:
        raise NotImplementedError

    async def count_dead(self) -> int:
        raise NotImplementedError

    async def requeue_dead(self, event_ids: object) -> int:
        raise NotImplementedError

    async def drop_dead(self, event_ids: object) -> int:
        raise NotImplementedError


async def test_all_are_those_that_are_there_as_the_command_begins() -> None:
    assert await all_ids(FakeTable(2 * PAGE + 1)) == list(range(1, 2 * PAGE + 2))
