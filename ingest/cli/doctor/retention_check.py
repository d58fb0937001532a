"""Checks the rights for retention with a statement that MySQL refuses in any case, as it names a partition that does
not exist.

MySQL and MariaDB check the rights on both tables before they look for the partition. So the error number tells
whether rights are missing, and no row or table changes. EXCHANGE PARTITION needs ALTER, CREATE, DROP and INSERT, which
are all rights that dropping a day needs.
"""

import re
import secrets

from ingest.errors import StoreError
from ingest.settings import Settings
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.partitioning.partitions import EXCHANGE
from ingest.store.mysql.partitioning.unfinished import DROPPED
from ingest.store.mysql.pool import Servers

RIGHTS = "ALTER, CREATE, DROP, INSERT"
DENIED = re.compile(r"error (1044|1142|1143|1227|1370)\b")
USER = b"SELECT CURRENT_USER()"


async def check_retention(settings: Settings) -> str:
    """Raises `StoreError` if the user may not drop a day."""
    connection = await Servers.parse(settings.database_url).connect(settings.connect_timeout_seconds)
    try:
        refusal = await _refusal(connection)
        if DENIED.search(str(refusal)):
            raise StoreError(f"Retention cannot drop days: {refusal} {await _grant(connection)}")
    finally:
        await connection.end()
    return "this user may drop days"


async def _refusal(connection: Connection) -> StoreError:
    partition = b"ingest_doctor_%b" % secrets.token_hex(8).encode()
    try:
        await connection.run(EXCHANGE % (partition, DROPPED))
    except StoreError as exc:
        return exc
    raise StoreError("The database exchanged a partition that does not exist.")


async def _grant(connection: Connection) -> str:
    user, _, host = str((await connection.run(USER))[0][0]).rpartition("@")
    database = (await connection.run(b"SELECT DATABASE()"))[0][0]
    return f"GRANT {RIGHTS} ON `{database}`.* TO '{user}'@'{host}';"
