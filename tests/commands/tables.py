"""Makes the service's tables, as `ingest migrate` does, without a process for it."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from ingest.errors import IngestError
from ingest.settings import Settings, read_settings
from ingest.sqlite import file_of
from ingest.store.mysql.migrate import migrate
from ingest.store.mysql.pool import Servers


def make_tables(environment: Mapping[str, str]) -> bool:
    """Create the tables, unless the service does so at its start. Return False if `ingest migrate` must create them.

    A missing server and wrong settings are no error here, as a test may want to see what the service says of them.
    """
    try:
        settings = read_settings(environment)
        if settings.embedded or file_of(settings.database_url):
            return settings.embedded
        _migrate(settings)
    except IngestError:
        pass
    return True


def _migrate(settings: Settings) -> None:
    work = migrate(Servers.parse(settings.database_url), settings.connect_timeout_seconds)
    with ThreadPoolExecutor(1) as thread:  # an event loop may run in the caller's thread
        thread.submit(asyncio.run, work).result()
