"""Makes what an erasure needs from the settings."""

from pathlib import Path

from ingest.erasure.database import ErasableDatabase
from ingest.retention.archive.folder import ArchiveFolder
from ingest.settings import Settings
from ingest.sqlite import connect, connect_read_only, file_of
from ingest.store.sqlite.erasing import SQLiteErasable

FOLDER_MEMORY = "archive-folder.json"


async def make_erasable(settings: Settings, *, read_only: bool) -> ErasableDatabase:
    """Connect. Raises `StoreUnavailable`."""
    if file := file_of(settings.database_url):
        return SQLiteErasable(file, settings.commit_timeout_seconds, connect_read_only if read_only else connect)
    from ingest.store.mysql.partitioning.erasing import MySQLErasable  # only MySQL needs its driver
    from ingest.store.mysql.pool import Servers

    return await MySQLErasable.open(Servers.parse(settings.database_url), settings.connect_timeout_seconds)


def make_archive_folder(settings: Settings) -> ArchiveFolder | None:
    """Return None if days are dropped without an archive."""
    if not settings.retention_archive:
        return None
    return ArchiveFolder(Path(settings.retention_archive), settings.data_dir / FOLDER_MEMORY)
