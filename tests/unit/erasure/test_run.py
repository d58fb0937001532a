"""An erasure in a database to which a busy service adds without an end."""

from collections.abc import Callable, Sequence

from ingest.clock import unix_us
from ingest.erasure.database import Newest, Packed, StoredEvent
from ingest.erasure.matcher import Matcher, Wanted
from ingest.erasure.report import Report
from ingest.erasure.run import PAGE_ENTRIES, PAGE_LETTERS, PAGE_ROWS, Erasure
from ingest.events.batch import Batch
from ingest.events.batch_codec import pack
from ingest.events.event import Event
from tests.unit.making import batch, event

PAGES_MAX = 50


class GrowingDatabase:
    """Each page is full, and begins where the last one ended: there is always one more."""

    def __init__(self) -> None:
        self.pages = {"events": 0, "entries": 0, "letters": 0}
        self._packed = pack(batch([event("other")]))

    async def newest(self) -> Newest:
        return Newest(3 * PAGE_ROWS, 3 * PAGE_ENTRIES, 3 * PAGE_LETTERS)

    async def events(self, after_id: int, limit: int, call_ids: Sequence[str] | None) -> list[StoredEvent]:
        return [StoredEvent(one, "other", b"{}") for one in self._page("events", after_id, limit)]

    async def entries(self, after_id: int, limit: int) -> list[Packed]:
        return [(one, self._packed) for one in self._page("entries", after_id, limit)]

    async def letters(self, after_id: int, limit: int) -> list[Packed]:
        return [(one, self._packed) for one in self._page("letters", after_id, limit)]

    def _page(self, what: str, after_id: int, limit: int) -> range:
        self.pages[what] += 1
        assert self.pages[what] < PAGES_MAX, f"the search of {what} has no end"
        first = max(after_id, 0) + 1
        return range(first, first + limit)

    async def lock(self) -> bool:
        return True

    async def check(self) -> list[str]:
        return []

    async def erase(self, event_ids: Sequence[int], tombstone: Batch) -> int:
        return 0

    async def replace_entry(
        self, first_id: int, change: Callable[[bytes], bytes | None], event_ids: Sequence[int], tombstone: Batch
    ) -> int:
        return 0

    async def finish(self) -> None: ...

    async def close(self) -> None: ...


async def made(one: Event) -> Batch:
    return batch([one])


async def test_each_search_ends_at_the_newest_id_of_its_beginning() -> None:
    database = GrowingDatabase()
    report = Report("run", acted=True)

    await Erasure(database, Matcher(Wanted(("+994501234567",))), report, made, unix_us, 0.0).run()

    assert database.pages == {"events": 3, "entries": 6, "letters": 6}
    assert report.searched == {
        **report.searched,
        "table": 3 * PAGE_ROWS,
        "outbox": 3 * PAGE_ENTRIES,
        "dead_letters": 3 * PAGE_LETTERS,
    }
