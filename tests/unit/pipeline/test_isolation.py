"""Which part of a refused whole is to blame, and what an outage during the search looks like."""

from collections.abc import Sequence

import pytest

from ingest.errors import BatchRefused, RowRefused, StoreUnavailable
from ingest.pipeline.isolation import Isolation

COMMITS_MAX = 64


def halves(part: str) -> Sequence[str]:
    middle = len(part) // 2
    return [part[middle:], part[:middle]] if middle else []


class Database:
    """Refuses parts with a letter of `refused`, and everything from the commit `fails_from` to `fails_to` on."""

    def __init__(self, refused: str = "", fails_from: int = 1000, fails_to: int = 1000) -> None:
        self.taken = ""
        self.tries: list[str] = []
        self._refused = refused
        self._outage = range(fails_from, fails_to)

    async def commit(self, part: str) -> None:
        self._count(part)
        if set(part) & set(self._refused):
            raise BatchRefused
        self.taken += part

    async def probe(self) -> None:
        self._count("probe")

    def _count(self, what: str) -> None:
        self.tries.append(what)
        if len(self.tries) - 1 in self._outage:
            raise BatchRefused


def isolation(whole: str = "abcd") -> Isolation[str]:
    return Isolation(halves(whole), halves, COMMITS_MAX)


async def test_refused_part_is_to_blame_after_a_neighbor_and_a_probe_were_taken() -> None:
    database, search = Database("c"), isolation()

    await search.run(database.commit, database.probe)

    assert [part for part, _ in search.blamed] == ["c"]
    assert (sorted(database.taken), search.left) == (["a", "b", "d"], [])
    assert database.tries == ["ab", "cd", "c", "probe", "c", "d"]


async def test_outage_that_begins_after_a_neighbor_was_taken_blames_nobody() -> None:
    database, search = Database(fails_from=1, fails_to=1000), isolation()

    with pytest.raises(BatchRefused):
        await search.run(database.commit, database.probe)

    assert (search.blamed, search.left) == ([], ["c", "d"])


@pytest.mark.parametrize("ends", [3, 4])
async def test_outage_that_ends_during_the_proof_blames_nobody(ends: int) -> None:
    database, search = Database(fails_from=1, fails_to=ends), isolation()

    try:
        await search.run(database.commit, database.probe)
    except BatchRefused:
        assert search.left == ["c", "d"]

    assert search.blamed == []


async def test_part_that_is_taken_at_its_second_try_is_committed() -> None:
    database, search = Database(fails_from=1, fails_to=3), isolation()

    await search.run(database.commit, database.probe)

    assert (sorted(database.taken), search.left, search.blamed) == (["a", "b", "c", "d"], [], [])


async def test_error_of_the_probe_leaves_the_part() -> None:
    database, search = Database("d"), isolation()

    async def probe() -> None:
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        await search.run(database.commit, probe)

    assert (search.blamed, search.left) == ([], ["d"])


async def test_refused_row_needs_no_other_proof() -> None:
    search = isolation("ab")

    async def commit(part: str) -> None:
        raise RowRefused

    async def probe() -> None:
        raise AssertionError

    await search.run(commit, probe)

    assert [part for part, _ in search.blamed] == ["a", "b"]
