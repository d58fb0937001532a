"""The SQL in the prose of the documents runs on the service's own tables."""

from tests.contract.store.stores import MySQL
from tests.documents import inline_code
from tests.services import MySQLServer

STATEMENTS = sorted({text for _, text in inline_code() if text.startswith(("SELECT ", "SHOW "))})


async def test_every_statement_runs(mysql: MySQLServer) -> None:
    database = MySQL(mysql)
    await database.migrate()

    assert STATEMENTS
    for statement in STATEMENTS:
        database.query(statement)
