"""Nodes under load that Prometheus watches, and what an operation on them left: alerts, log lines, wrong figures."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.harness.balancer import Balancer
from tests.faults.harness.load import Load
from tests.quiet.figures import lasting_differences
from tests.quiet.nodes import LogReader
from tests.quiet.noise import unexpected, without_cause
from tests.quiet.report import Report
from tests.quiet.watch import QuietWatch, State
from tests.running import ServiceProcess

EVENTS_PER_SECOND = 100.0
SETTLED_SECONDS = 30.0


class Stage:
    """`nodes` take the load. `apart` are watched, but have none."""

    def __init__(self, folder: Path, settings: Mapping[str, str], watch: QuietWatch, report: Report) -> None:
        self.nodes: list[ServiceProcess] = []
        self.apart: list[ServiceProcess] = []
        self.findings: list[str] = []
        self._folder = folder
        self._settings = settings
        self._watch = watch
        self._report = report
        self._logs: dict[Path, LogReader] = {}

    def folder_of(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def settings_of(self, name: str, **settings: str) -> dict[str, str]:
        return {**self._settings, "DATA_DIR": str(self.folder_of(name) / "var"), **settings}

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Load the nodes during the block. Then look at alerts, logs and figures, and add them to the findings."""
        began = time.monotonic()
        with Balancer(self.nodes) as balancer, Load(balancer.port, EVENTS_PER_SECOND) as load:
            yield
            self._watch.watch(*(node.port for node in self._all()))
        self._judge(name, self._watch.states(time.monotonic() - began))
        if load.ledger.refused:
            self.findings.append(f"{name}: requests were refused: {load.ledger.refused}")

    def _judge(self, name: str, states: set[State]) -> None:
        self._report.add(name, states)
        self.findings += [f"{name}: {finding}" for finding in unexpected(name, states)]
        for node in self._all():
            self.findings += [f"{name}: {line}" for line in without_cause(name, self._new_lines(node))]
            self.findings += [f"{name}: {one}" for one in lasting_differences(node, SETTLED_SECONDS)]

    def _all(self) -> list[ServiceProcess]:
        return [*self.nodes, *self.apart]

    def _new_lines(self, node: ServiceProcess) -> list[dict[str, Any]]:
        folder = Path(node.environment["INGEST_DATA_DIR"])
        return list(self._logs.setdefault(folder, LogReader(node)).new_lines())
