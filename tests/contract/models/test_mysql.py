"""The model of MySQL answers like the real server, and its sessions wait like those of the real one.

A schedule ends without a failure where the answer is a matter of chance on a real server, and the model's differs:
- A deadlock: InnoDB ends the transaction with the smaller locks, whose size in memory the model only guesses.
- Several sessions wait: their threads go on in any order.
"""

import os
from random import Random
from typing import Any

import pytest

from tests.contract.models.mysql_operations import any_statement, fill
from tests.contract.models.mysql_sides import ModelSide, RealSide, model_side, real_side
from tests.contract.store.stores import MySQL
from tests.services import MySQLServer

STEPS = 60
SEEDS = int(os.environ.get("INGEST_TEST_MODEL_SEEDS", "6"))
AUTOCOMMITS = (False, False, True)
DEADLOCK = 1213


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_model_answers_like_the_server(mysql: MySQLServer, seed: int) -> None:
    random = Random(seed)
    database = MySQL(mysql)
    await database.migrate()
    database.query(fill().decode())
    database.query("ANALYZE TABLE ingest_outbox")
    model = await model_side(AUTOCOMMITS, mariadb=database.is_mariadb)
    model.database.query(fill().decode())
    real = await real_side(database, AUTOCOMMITS)
    try:
        await _compare(model, real, random)
    finally:
        await real.close()
        await model.close()


async def _compare(model: ModelSide, real: RealSide, random: Random) -> None:
    waiting: frozenset[int] = frozenset()
    log: list[str] = []
    for _ in range(STEPS):
        session = random.choice([one for one in range(len(AUTOCOMMITS)) if one not in waiting])
        sql = any_statement(random)
        for side in (model, real):
            side.start(session, sql)
        of_model, of_real = await model.settled(), await real.settled()
        log.append(f"{session}: {sql.decode()}\n    model {of_model}\n    real  {of_real}")
        if of_model != of_real and (len(waiting) > 1 or (_deadlocked(of_model) and _deadlocked(of_real))):
            return
        assert model.database.server.defect is None
        assert of_model == of_real, "\n".join(["", *log])
        waiting = of_real[1]


def _deadlocked(settled: tuple[dict[int, Any], frozenset[int]]) -> bool:
    return any(answer[-1] == DEADLOCK for answer in settled[0].values())
