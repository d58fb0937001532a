"""Makes the adapters of the database from the settings. Nothing is connected yet."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ingest.audit.trail import AuditTrail
from ingest.clock import unix_us
from ingest.files.exclusive_lock import ExclusiveLock, file_lock
from ingest.interrupts import run_main
from ingest.retention.scheduler import OpenTable, RetentionScheduler, count_archived
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings
from ingest.sqlite import connect, connect_read_only, file_of
from ingest.store.base import Store
from ingest.store.sqlite.store import SQLiteStore, migrate
from ingest.telemetry.connection_metrics import NO_OBSERVER, ConnectionObserver
from ingest.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from ingest.store.mysql.store import MySQLStore

T = TypeVar("T")


def make_store(settings: Settings, observer: ConnectionObserver = NO_OBSERVER, *, read_only: bool = False) -> Store:
    """`read_only`: for a command that changes nothing and creates no file."""
    if file := file_of(settings.database_url):
        opened = connect_read_only if read_only else connect
        return SQLiteStore(file, settings.commit_timeout_seconds, unix_us, opened)
    from ingest.server.factories.mysql import make_mysql_store  # only MySQL needs its driver

    return make_mysql_store(settings, observer)


def as_mysql(store: Store) -> "MySQLStore | None":
    """Return the store if it is MySQL's."""
    if isinstance(store, SQLiteStore):
        return None
    from ingest.store.mysql.store import MySQLStore

    return store if isinstance(store, MySQLStore) else None


def migrate_embedded(settings: Settings) -> Sequence[str]:
    """Create or update the tables of embedded mode, which has one service only. Return the migrations applied now.

    Other databases wait for `ingest migrate`: several nodes share them. Raises `StoreError`.
    """
    file = file_of(settings.database_url)
    return migrate(file) if file and settings.embedded else ()


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]], *, read_only: bool = False) -> T:
    """Run a command's work with the database, apart from the service. For `read_only` see `make_store`."""
    act_as_owner(settings, folder=False, writes=not read_only)

    async def run() -> T:
        store = make_store(settings, read_only=read_only)
        await store.start()
        try:
            return await work(store)
        finally:
            await store.close()

    return run_main(run())


def audited(settings: Settings, work: Callable[[Store, AuditTrail], Awaitable[T]]) -> T:
    """Run a command's work that the audit trail records. For the user who runs it see `ingest.audit.operator`."""
    return with_store(settings, lambda store: work(store, AuditTrail(store, unix_us)))


def make_retention(
    settings: Settings, metrics: Metrics, open_table: OpenTable | None = None
) -> RetentionScheduler | None:
    """Return None if only `ingest retention` drops days. `open_table` replaces connections to the database's server."""
    if not (settings.retention_days or settings.retention_bytes_max):
        return None
    from ingest.retention.archive.archiver import SERVICE_REST
    from ingest.server.factories.mysql import make_archiver, make_open_table

    return RetentionScheduler(
        open_table or make_open_table(settings),
        settings.retention_days or None,
        settings.retention_bytes_max or None,
        settings.retention_check_seconds,
        unix_us,
        metrics,
        make_archiver(settings, partial(count_archived, metrics), rest=SERVICE_REST),
    )


def exclusive_lock(settings: Settings, name: str) -> ExclusiveLock:
    """Return a lock among all workers of the database. A SQLite database has only the workers of one data folder."""
    if settings.database_url.startswith("sqlite:"):
        return file_lock(settings.run_dir / f"{name}.lock")
    from ingest.server.factories.mysql import make_mysql_lock

    return make_mysql_lock(settings, name)
