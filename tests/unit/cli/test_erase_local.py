"""`ingest erase` and the spool of this host: erased if no service has it, else named."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from ingest.broker.embedded import FILE_NAME, EmbeddedQueue, Message
from ingest.cli.erase.local import LocalErasure
from ingest.clock import unix_us
from ingest.erasure.matcher import Matcher, Wanted
from ingest.erasure.report import Report
from ingest.erasure.run import Erasure
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.settings import Settings
from ingest.spool.erasing import search
from ingest.store.sqlite.erasing import SQLiteErasable
from ingest.store.sqlite.store import migrate
from tests.commands.forked import run_module
from tests.paths import ROOT
from tests.unit.making import body
from tests.unit.spool.test_erasing import NUMBER, filled, opened, some_batches


class Host:
    """A data folder with a spool, and a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder)
        self.spool = folder / "spool"
        self.matcher = Matcher(Wanted((NUMBER,)))
        self.report = Report("run", True)
        self._database = folder / "events.db"
        migrate(self._database)

    @asynccontextmanager
    async def erasure(
        self, *, act: bool = True, reached: Callable[[str], object] = lambda _: None
    ) -> AsyncIterator[LocalErasure]:
        ids = IdGenerator(7, unix_us)

        async def new_batch(made: Event) -> Batch:
            return Batch(ids.take(1), [made], unix_us())

        self.report = Report("run", act)
        database = SQLiteErasable(self._database, 10.0)
        erasure = Erasure(database, self.matcher, self.report, new_batch, unix_us, 0.0, reached)
        yield LocalErasure(self.settings, self.matcher, self.report, erasure, unix_us, reached)
        await database.close()

    def found(self) -> int:
        return sum(len(spool.found) for spool in search(self.spool, self.matcher.matches))


def killed(host: Host, step: str) -> None:
    """Erase in another process, which is killed when the step has ended."""
    ran = run_module(__name__, [str(host.folder), step], folder=ROOT)
    assert ran.returncode == -signal.SIGKILL, ran.stderr


async def erase_until(folder: Path, step: str) -> None:
    def die(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    async with Host(folder).erasure(reached=die) as erasing:
        await erasing.spools(0)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def test_spool_that_a_dead_service_left_is_erased(host: Host) -> None:
    await filled(host.spool)

    async with host.erasure() as erasing:
        await erasing.spools(0)

    assert host.found() == 0
    assert host.report.complete
    assert host.report.found["spool"] == 4
    assert host.report.tombstones


async def test_dry_run_only_counts(host: Host) -> None:
    await filled(host.spool)

    async with host.erasure(act=False) as erasing:
        await erasing.spools(0)

    assert (host.found(), host.report.found["spool"], host.report.tombstones) == (4, 4, [])


@pytest.mark.parametrize("step", ["spool", "segment"])
async def test_killed_erasure_of_a_spool_is_finished_by_the_next(host: Host, step: str) -> None:
    await filled(host.spool)
    killed(host, step)
    assert host.found() == (4 if step == "spool" else 0)

    async with host.erasure() as erasing:
        await erasing.spools(0)

    assert (host.found(), host.report.complete) == (0, True)


async def test_spool_of_a_running_service_is_named_unless_it_drains_in_time(host: Host) -> None:
    async with opened(host.spool) as spool:
        await spool.commit(some_batches()[0], lease_seconds=0.0, settled=[])
        async with host.erasure() as erasing:
            await erasing.spools(0)
        assert not host.report.complete
        assert "while this host's service is stopped" in host.report.problems[0]
        assert host.report.tombstones == []

        await spool.remove(await spool.after(0, 9))
        async with host.erasure() as erasing:
            await erasing.spools(5)
    assert host.report.complete
    assert host.found() == 0


async def test_search_of_the_embedded_queue_ends_while_more_messages_come(host: Host) -> None:
    next_id = itertools.count(1)
    with closing(EmbeddedQueue(host.folder / FILE_NAME, 10.0)) as queue:

        def add(_: str = "") -> None:
            queue.publish([Message(next(next_id), "call_started", 0, body(from_number=NUMBER))], 1000)

        add()
        async with host.erasure(reached=add) as erasing:
            await asyncio.wait_for(erasing.embedded_queue(), 60)

        assert (host.report.found["embedded_queue"], len(queue.ids())) == (1, 2)


async def test_damage_makes_an_erasure_incomplete(host: Host) -> None:
    host.spool.mkdir()
    (host.spool / "spool-0.00000001.9f86d081884c7d65.damaged").touch()

    async with host.erasure() as erasing:
        await erasing.spools(0)

    assert not host.report.complete


if __name__ == "__main__":
    asyncio.run(erase_until(Path(sys.argv[1]), sys.argv[2]))
