"""Checks database and broker in the background, for `/readyz` and the gauges."""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec
from prometheus_client import Gauge

from ingest.broker.base import Publisher
from ingest.errors import StoreError
from ingest.store.base import Store
from ingest.telemetry.metrics import Metrics
from ingest.ticks import pause

log = logging.getLogger("ingest.health")

CHECK_SECONDS = 1.0

Status = Literal["starting", "ready", "degraded", "unavailable", "draining"]


class Report(msgspec.Struct, frozen=True):
    """`status` is for machines. `checks` (name → "ok" or a problem) is for people."""

    status: Status
    checks: dict[str, str]

    @property
    def ready(self) -> bool:
        """True if the service accepts events.

        It does so without a broker, because events wait in the outbox. It does so without a database while the spool
        has room.
        """
        return self.status in ("ready", "degraded")


class Spool(Protocol):
    """See `ingest.spool.health`."""

    @property
    def used(self) -> bool:
        """True while batches go to the spool because the database is down."""

    @property
    def problem(self) -> str | None:
        """Why the spool accepts no events; None if it does."""

    @property
    def waiting(self) -> str | None:
        """A text for people: what the spool holds."""

    def trouble(self) -> str | None:
        """A problem with the spool's files, although the spool accepts events."""


def waiting_text(events: int, set_aside: int) -> str | None:
    """Say what a spool holds, or None if it is empty."""
    texts = [f"{events:,} {'event waits' if events == 1 else 'events wait'} for the database"] if events else []
    if set_aside:
        texts.append(f"{set_aside:,} {'event is' if set_aside == 1 else 'events are'} set aside: see `ingest spool ls`")
    return "; ".join(texts) or None


class Health:
    """Watches store and publisher. `run` works until it is cancelled."""

    def __init__(
        self,
        store: Store,
        spool: Spool | None,
        publisher: Publisher,
        metrics: Metrics,
        checks: Mapping[str, Callable[[], str | None]] = MappingProxyType({}),
        ids_problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`checks` by name: each returns a problem or None. A problem degrades the service, which still accepts events.

        `ids_problem` returns why the worker has no id slot, or None.
        """
        self._store = store
        self._spool = spool
        self._publisher = publisher
        self._metrics = metrics
        self._checks = checks
        self._failing = {name: metrics.check_failing.labels(name) for name in checks}
        self._ids_problem = ids_problem
        self._database = "not checked yet"
        self.has_slot = False
        """True once the worker can make ids for events. They may be provisional (`ingest.pipeline.identity`)."""
        self.draining = False
        self.started = False
        """False while the worker begins to connect. Until then a server that is not connected yet is no outage."""

    def report(self) -> Report:
        report = self.report_without_spooled()
        if self._spool and not self._spool.problem:
            report.checks["spool"] = self._spool.waiting or "ok"
        return report

    def report_without_spooled(self) -> Report:
        """Return the same without what the spool of this worker holds. The status page adds up all spools."""
        checks = {
            "database": self._database,
            "broker": self._publisher.problem or ("ok" if self._publisher.ready else "not connected"),
            "ids": self._ids_problem() or ("ok" if self.has_slot else "no id slot yet"),
        }
        if self._spool:
            checks["spool"] = self._spool.problem or "ok"
        checks |= {name: check() or "ok" for name, check in self._checks.items()}
        return Report(self._status(checks), checks)

    def _status(self, checks: dict[str, str]) -> Status:
        if self.draining:
            return "draining"
        if not self.has_slot:
            return "starting"
        away = checks["database"] != "ok" or checks["ids"] != "ok" or (self._spool is not None and self._spool.used)
        if away and (self._spool is None or self._spool.problem):
            return "unavailable"
        well = all(checks[name] == "ok" for name in ("broker", *self._checks))
        return "ready" if well and not away else "degraded"

    async def run(self) -> None:
        while True:
            try:
                await self.check()
            except Exception:
                log.exception("the health check failed unexpectedly")
                self._metrics.background_failures.labels("health").inc()
                self._database = "The check failed; the log says why."
            await pause(CHECK_SECONDS)

    async def check(self) -> None:
        """Check once. Never raises if the database is down."""
        try:
            await self._store.ping()
            self._database = "ok"
        except StoreError as exc:
            self._database = str(exc)
        self._show(self._metrics.database_up, up=self._database == "ok")
        self._show(self._metrics.broker_up, up=self._publisher.ready)
        self._metrics.broker_blocked.set(await self._publisher.blocked())
        if self.started:
            for name, check in self._checks.items():
                self._failing[name].set(check() is not None)

    def _show(self, gauge: Gauge, *, up: bool) -> None:
        """Set the gauge, which is unknown at first: a planned start must not look like an outage of all workers."""
        if up or self.started:
            gauge.set(up)
