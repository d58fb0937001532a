"""`--all` means the dead letters at the start of the command."""

from ingest.cli.dead_letters import PAGE, all_ids
from ingest.events.batch import Batch
from ingest.outbox.dead_letters import DeadLetter
from tests.unit.making import NOW_US


class FakeTable:
    """A table of dead letters. Each read adds one."""

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


async def test_all_means_the_dead_letters_at_the_start_of_the_command() -> None:
    assert await all_ids(FakeTable(2 * PAGE + 1)) == list(range(1, 2 * PAGE + 2))
