"""Runs Granian with the workers, logs and limits of the settings."""

import logging
import math
import multiprocessing
import socket
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from prometheus_client import Counter

from ingest.auth.tokens import warning_about
from ingest.errors import StoreError
from ingest.files.lock_watch import LOOK_SECONDS, LockWatch
from ingest.files.locks import FileLock
from ingest.server.app import beats_folder, metric_files
from ingest.server.data_folder import claim
from ingest.server.factories.store import make_store, migrate_embedded
from ingest.server.file_modes import make_private
from ingest.server.file_owner import root_warning
from ingest.server.invitation import invite
from ingest.server.listeners.address import check_free, literal
from ingest.server.listeners.direct import DirectServer, listen
from ingest.server.listeners.supervisor import Supervisor, nothing
from ingest.server.listeners.tls import WATCH_SECONDS, Certificates, Renewals, TlsContext
from ingest.server.signals import obey_in_forked
from ingest.server.start_watch import StartWatch
from ingest.server.watchdog import CHECK_SECONDS, Watchdog, kill
from ingest.settings import Settings
from ingest.sources.making import keep_forms
from ingest.tasks import Repetitions
from ingest.telemetry import granian
from ingest.telemetry.logs import log_config

log = logging.getLogger("ingest.server")

KEEP_ALIVE_SECONDS = 75
"""Time for an idle connection, or an incomplete request head, before the connection is closed."""
PAUSE_SECONDS = 1.0
"""Pause between two starts, so that workers that cannot start do not use a whole core."""
KILL_MARGIN_SECONDS = 5
"""A worker that has not ended this long after its drain timeout is killed."""


def serve(settings: Settings) -> None:
    """Serve until a signal stops the service. Raises `SettingsError` before anything starts."""
    owner = claim(settings)  # before this start could change files of a running service
    tightened = make_private(settings)
    address = literal("INGEST_HOST", settings.host)
    check_free("INGEST_HOST, INGEST_PORT", address, settings.port)
    if settings.admin_port:
        admin = literal("INGEST_ADMIN_HOST", settings.admin_host)
        check_free("INGEST_ADMIN_HOST, INGEST_ADMIN_PORT", admin, settings.admin_port)
    certificates = Certificates(settings) if settings.tls_cert else None
    make_store(settings)  # reports a wrong URL once, before the workers start
    keep_forms(settings)
    metric_files(settings).clear()
    repetitions = Repetitions(time.monotonic)
    failures = _watch_files(settings, owner, repetitions)
    obey_in_forked()
    if settings.server_metrics_port:
        # Granian's exporter has threads, beside which no worker may be forked (`ingest.server.listeners.supervisor`).
        multiprocessing.set_start_method("spawn")
    resolved = msgspec.structs.replace(settings, host=address)
    listening = listen(address, settings.port) if settings.listens_directly else None

    def new_server() -> Supervisor:
        return make_server(
            "ingest.server.app:create",
            resolved,
            Interfaces.RSGI,
            certificates=certificates,
            listening=listening,
            work=repetitions.run,
        )

    server = new_server()
    invite(settings, listening.getsockname()[1] if listening else settings.port, sys.stdout)
    tightened.report()  # after `make_server`, which sets up the log
    _prepare_tables(settings)
    _warn(settings)
    if certificates:
        renewals = Renewals(certificates, lambda: _replace_workers(server))
        repetitions.add(renewals.check, WATCH_SECONDS, "tls-files", failures.labels("tls-files").inc)

    def births() -> Mapping[int, float]:
        return server.births()  # of the newest one: see below

    _watch_workers(settings, births, repetitions, failures)
    while _gave_up(server):
        log.error("several workers died within seconds; the service starts again", extra={"pause": PAUSE_SECONDS})
        time.sleep(PAUSE_SECONDS)
        if server.interrupt_signal:
            return  # a signal came during the pause
        server = new_server()


def _prepare_tables(settings: Settings) -> None:
    """Create or update the tables of embedded mode. After a failure the workers say what is wrong with them."""
    try:
        migrated = migrate_embedded(settings)
    except StoreError as exc:
        log.warning("the tables were not created or updated", extra={"reason": str(exc)})
    else:
        if migrated:
            log.info("the tables were created or updated", extra={"migrations": migrated})


def _warn(settings: Settings) -> None:
    if warning := root_warning(settings.data_dir):
        log.warning(warning)
    if not settings.embedded and (warning := warning_about(settings.api_tokens)):
        log.warning(warning)


def _watch_files(settings: Settings, owner: FileLock, repetitions: Repetitions) -> Counter:
    """Watch the data folder. Return the counter of the supervisor's failures, by task."""
    files = metric_files(settings)
    failures = files.supervisor_failures()
    locks = LockWatch(time.monotonic)
    locks.add(lambda: owner)
    use = partial(failures.labels("locks").inc, 0)
    locks.add_files(settings.run_dir / "metrics", partial(files.restore, use))
    repetitions.add(locks.look, LOOK_SECONDS, "locks", failures.labels("locks").inc)
    return failures


def _watch_workers(
    settings: Settings, births: Callable[[], Mapping[int, float]], repetitions: Repetitions, failures: Counter
) -> None:
    beats, count = beats_folder(settings), failures.labels("watchdog").inc
    if settings.watchdog_seconds:
        watchdog = Watchdog(beats, settings.watchdog_seconds, kill, time.monotonic)
        repetitions.add(watchdog.check, CHECK_SECONDS, "watchdog", count)
    if settings.start_timeout_seconds:
        starts = StartWatch(beats, births, settings.start_timeout_seconds, kill, time.monotonic)
        repetitions.add(starts.check, CHECK_SECONDS, "watchdog", count)


def _replace_workers(server: Supervisor) -> None:
    """Replace the workers one by one, as after SIGHUP."""
    server.signal_handler_reload()  # type: ignore[no-untyped-call] # Granian has no types here


def _gave_up(server: Supervisor) -> bool:
    """Serve. Return True if Granian ended because a replaced worker died again within 5.5 s."""
    try:
        server.serve()
    except SystemExit as exc:
        if server.interrupt_signal or not exc.code:
            raise
        return True
    return False


class TlsServer(Supervisor):
    """Gives each new worker the current certificate. Granian's own server reads the files only at its start."""

    def __init__(self, certificates: Certificates, target: str, **options: Any) -> None:
        self._certificates = certificates
        super().__init__(target, **options)

    def build_ssl_context(self, *_: object) -> None:
        """Do nothing: `ssl_ctx` builds the context for each worker."""

    @property
    def ssl_ctx(self) -> TlsContext:  # type: ignore[override] # an attribute in Granian, which only reads it
        """Granian reads it once for each worker."""
        return self._certificates.context()


def make_server(
    target: str,
    settings: Settings,
    interface: Interfaces,
    *,
    factory: bool = True,
    certificates: Certificates | None = None,
    listening: socket.socket | None = None,
    work: Callable[[], None] = nothing,
) -> Supervisor:
    """Return Granian for an application or its factory. The host must be an IP address.

    `certificates` enable HTTPS. With a `listening` socket the workers accept from it themselves. `work` is the
    supervisor's other work (`Supervisor`).
    """
    make: Callable[..., Supervisor] = Supervisor
    if certificates:
        make = partial(TlsServer, certificates)
    elif listening:
        make = partial(DirectServer, listening)
    return make(
        target,
        work=work,
        factory=factory,
        address=settings.host,
        port=settings.port,
        interface=interface,
        workers=settings.workers,
        loop=Loops.uvloop,
        http=HTTPModes.auto,
        websockets=False,
        backpressure=settings.connections_max,
        http1_settings=HTTP1Settings(header_read_timeout=KEEP_ALIVE_SECONDS * 1000),
        log_level=LogLevels(settings.log_level),
        log_dictconfig=log_config(settings.log_level),
        respawn_failed_workers=True,
        workers_kill_timeout=stop_seconds_max(settings),
        metrics_enabled=bool(settings.server_metrics_port),
        metrics_address=granian.HOST,
        metrics_port=settings.server_metrics_port,
        metrics_scrape_interval=granian.COLLECT_SECONDS,
    )


def stop_seconds_max(settings: Settings) -> int:
    """Return the longest time from SIGTERM to the end of the last worker, even if it hangs."""
    return math.ceil(settings.drain_delay_seconds + settings.drain_timeout_seconds) + KILL_MARGIN_SECONDS
