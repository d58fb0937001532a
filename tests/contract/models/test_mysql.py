"""The model of MySQL answers like the real server, and its sessions wait like those of the real one.

A schedule ends without a failure where the model's answer differs for one of these reasons:
- A deadlock: InnoDB ends the transaction with the smaller locks, whose size in memory the model only guesses.
- Several sessions wait: their threads go on in any order.
- An INSERT failed after some rows: InnoDB keeps locks on deleted rows that it has not purged. The model has none.
- A statement has waited for a row that was deleted then: MySQL keeps its lock, too. MariaDB gives it up.
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
SEEDS = int(os.environ.get("INGEST_TEST_MODEL_SEEDS", "3"))
"""A schedule takes about a second. Set it for a long form."""
AUTOCOMMITS = (False, False, True)
DEADLOCK, DUPLICATE = 1213, 1062
ENDS = {b"BEGIN", b"COMMIT", b"ROLLBACK"}

Settled = tuple[dict[int, Any], frozenset[int]]


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_model_answers_like_the_server(mysql: MySQLServer, seed: int) -> None:
    database = MySQL(mysql)
    await database.migrate()
    database.query(fill().decode())
    database.query("ANALYZE TABLE ingest_outbox")
    model = await model_side(AUTOCOMMITS, mariadb=database.is_mariadb)
    model.database.query(fill().decode())
    real = await real_side(database, AUTOCOMMITS)
    try:
        await Comparison(model, real, Random(seed)).run()
    finally:
        await real.close()
        await model.close()


class Comparison:
    def __init__(self, model: ModelSide, real: RealSide, random: Random) -> None:
        self._model = model
        self._real = real
        self._random = random
        self._waiting: frozenset[int] = frozenset()
        self._failed: set[int] = set()
        """Sessions whose open transaction has an INSERT that failed."""
        self._waited: set[int] = set()
        """Sessions whose open transaction has a statement that waited."""
        self._log: list[str] = []

    async def run(self) -> None:
        for _ in range(STEPS):
            if not await self._step():
                return

    async def _step(self) -> bool:
        """Return False if the answers differ for a known reason."""
        session = self._random.choice([one for one in range(len(AUTOCOMMITS)) if one not in self._waiting])
        sql = any_statement(self._random)
        for side in (self._model, self._real):
            side.start(session, sql)
        of_model, of_real = await self._model.settled(), await self._real.settled()
        self._log.append(f"{session}: {sql.decode()}\n    model {of_model}\n    real  {of_real}")
        assert self._model.database.server.defect is None
        if of_model != of_real:
            known = len(self._waiting) > 1 or (_deadlocked(of_model) and _deadlocked(of_real))
            known |= b"INSERT" in sql and bool(self._failed - {session})
            known |= not self._real.database.is_mariadb and bool(self._waited - {session})
            assert known, "\n".join(["", *self._log])
            return False
        self._note(session, sql, of_real)
        return True

    def _note(self, session: int, sql: bytes, settled: Settled) -> None:
        self._waiting = settled[1]
        self._waited |= settled[1]
        if sql in ENDS:
            self._failed.discard(session)
            self._waited.discard(session)
        self._failed |= {one for one, answer in settled[0].items() if answer[-1] == DUPLICATE}


def _deadlocked(settled: Settled) -> bool:
    return any(answer[-1] == DEADLOCK for answer in settled[0].values())
