"""Checks of this host's limits: open files and disk space. They only read."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from ingest.cli.doctor.finding import Finding
from ingest.server.file_owner import nearest
from ingest.settings import Settings

OTHER_FILES = 200
"""Files of a worker beside its clients' connections: databases, broker, spool, logs, libraries."""
MIB = 2**20


def host_checks(settings: Settings) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield open_files(settings, soft)
    yield disk(settings, shutil.disk_usage(nearest(settings.data_dir)).free, settings.data_dir)


def open_files(settings: Settings, soft: int) -> Finding:
    """`soft` is the limit of this shell; a service manager may give the service another one."""
    if soft == resource.RLIM_INFINITY:
        return Finding("open files", True, "no limit")
    needed = settings.connections_max + OTHER_FILES
    text = f"the limit here is {soft}"
    if soft < needed:
        text += (
            f"; INGEST_CONNECTIONS_MAX={settings.connections_max} needs {needed} in a worker: raise LimitNOFILE or "
            "ulimit -n, or lower the setting"
        )
    return Finding("open files", soft > OTHER_FILES, text)


def disk(settings: Settings, free_bytes: int, folder: Path) -> Finding:
    """The spool keeps a part of the disk free, and it needs room for what it may hold."""
    spools = settings.spool_bytes_max and not settings.database_url.startswith("sqlite:")
    text = f"{free_bytes // MIB} MiB are free for {folder}"
    if free_bytes <= settings.spool_free_bytes_min:
        least = settings.spool_free_bytes_min // MIB
        return Finding("disk", False, f"{text}: INGEST_SPOOL_FREE_BYTES_MIN keeps {least} MiB free. Free more space.")
    room = free_bytes - settings.spool_free_bytes_min
    if spools and room < settings.spool_bytes_max:
        text += f"; the spool can hold {room // MIB} MiB of INGEST_SPOOL_BYTES_MAX={settings.spool_bytes_max}"
    return Finding("disk", True, text)
