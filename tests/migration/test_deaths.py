"""`ingest adopt` is killed before each of its statements, and with kill -9 after each step. The next run repairs it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import pytest

from tests.commands.forked import run_module
from tests.contract.store.stores import MySQL
from tests.migration.journey import Size
from tests.migration.laravel_tables import Original
from tests.migration.moving import ROWS, Killed, adopt, calls, check_adopted, fill, go_back, store
from tests.paths import ROOT
from tests.services import MySQLServer

STEPS = ("prepared", "made", "swapped", "copied", "jobs", "failed_jobs")
STEPS_BACK = ("copied back", "swapped back")
STATEMENTS_MIN = 30
"""An adoption has more statements than this."""


@pytest.fixture
def original(mysql: MySQLServer) -> Original:
    made = Original(MySQL(mysql))
    fill(made)
    return made


@pytest.mark.timeout(1200)
async def test_a_death_before_each_statement_is_made_good_by_the_next_run(original: Original, size: Size) -> None:
    database = original.database
    await database.migrate()
    number, ended = 0, False
    while not ended:
        original.forget()
        fill(original)
        try:
            await adopt(database.url, number)
            ended = True
        except Killed:
            await adopt(database.url)
        check_adopted(database)
        number += size.stride
    assert number > STATEMENTS_MIN


@pytest.mark.timeout(1200)
async def test_a_death_on_the_way_back_is_made_good_by_the_next_run(original: Original, size: Size) -> None:
    database = original.database
    await database.migrate()
    number, ended = 0, False
    while not ended:
        original.forget()
        fill(original)
        await adopt(database.url)
        database.query("DELETE FROM ingest_outbox")
        await store(database, range(100, 103))
        try:
            await go_back(database.url, number)
            ended = True
        except Killed:
            await go_back(database.url)
        assert calls(database) == sorted(f"call-{n}" for n in (*range(ROWS), *range(100, 103)))
        assert "auto_increment" in database.query("SHOW COLUMNS FROM call_event_logs")[0]
        number += size.stride
    assert number > STATEMENTS_MIN // 2


@pytest.mark.parametrize("step", [*STEPS, *STEPS_BACK])
async def test_kill_9_at_each_step_is_made_good_by_the_next_run(original: Original, step: str) -> None:
    database = original.database
    await database.migrate()
    if step in STEPS_BACK:
        await adopt(database.url)
        database.query("DELETE FROM ingest_outbox")
        await store(database, range(100, 102))

    ran = await asyncio.to_thread(run_module, __name__, [database.url, step], folder=ROOT)

    assert ran.returncode == -signal.SIGKILL, ran.stderr
    if step in STEPS:
        await adopt(database.url)
        check_adopted(database)
    else:
        await go_back(database.url)
        assert calls(database) == sorted(f"call-{n}" for n in (*range(ROWS), 100, 101))


def _kill_at(wanted: str) -> Callable[[str], None]:
    def reached(step: str) -> None:
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


if __name__ == "__main__":
    database_url, at = sys.argv[1:]
    asyncio.run((adopt if at in STEPS else go_back)(database_url, reached=_kill_at(at)))
