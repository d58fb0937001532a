"""Databases for the contract of stores, each migrated and empty."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.store.base import Store
from tests.contract.store.hostile import HostileMySQL
from tests.contract.store.simulated import SimulatedMySQL
from tests.contract.store.stores import Database, MySQL, SQLite, opened


@pytest.fixture(
    params=[
        "sqlite",
        "simulated mysql",
        *(pytest.param(name, marks=pytest.mark.servers) for name in ("mysql", "hostile mysql")),
    ]
)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A database without migrations."""
    if request.param == "sqlite":
        return SQLite(tmp_path)
    if request.param == "simulated mysql":
        return SimulatedMySQL()
    if request.param == "mysql":
        return MySQL(request.getfixturevalue("mysql"))
    return HostileMySQL(request.getfixturevalue("hostile_mysql"))


@pytest.fixture
async def database(empty_database: Database) -> Database:
    await empty_database.migrate()
    return empty_database


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with opened(database.store()) as (store,):
        yield store
