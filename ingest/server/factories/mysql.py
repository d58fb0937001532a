"""Makes what only MySQL needs. Its modules and driver are imported only if the database is MySQL."""

from functools import partial

from ingest.clock import unix_us
from ingest.files.exclusive_lock import ExclusiveLock
from ingest.retention.archive.archiver import Archiver, Observer
from ingest.retention.scheduler import OpenTable
from ingest.server.factories.erasure import make_archive_folder
from ingest.server.factories.publishing import keeps_order
from ingest.settings import Settings
from ingest.store.mysql.lock import mysql_lock
from ingest.store.mysql.order import OrderedMySQLStore
from ingest.store.mysql.partitioning.partitions import PartitionedTable
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.store import MySQLStore
from ingest.telemetry.connection_metrics import ConnectionObserver


def make_mysql_store(settings: Settings, observer: ConnectionObserver) -> MySQLStore:
    store_class = OrderedMySQLStore if keeps_order(settings) else MySQLStore
    return store_class(
        Servers.parse(settings.database_url, current_reads=keeps_order(settings)),
        connections_max=settings.store_connections_max,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        commit_timeout_seconds=settings.commit_timeout_seconds,
        now_us=unix_us,
        observer=observer,
    )


def make_open_table(settings: Settings) -> OpenTable:
    """Return a function that opens the partitioned table, for retention."""
    return partial(PartitionedTable.open, Servers.parse(settings.database_url), settings.connect_timeout_seconds)


def make_archiver(settings: Settings, archived: Observer = lambda _: None, *, rest: float = 0.0) -> Archiver | None:
    folder = make_archive_folder(settings)
    return Archiver(folder, unix_us, archived, rest=rest) if folder else None


def make_mysql_lock(settings: Settings, name: str) -> ExclusiveLock:
    return mysql_lock(Servers.parse(settings.database_url), name, settings.connect_timeout_seconds)
