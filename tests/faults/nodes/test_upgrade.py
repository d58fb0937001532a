"""An upgrade under load, and the way back: a version takes over what the other one left when it was killed.

The table was away and RabbitMQ silent before each kill, so data folder and database hold events in every state. The
load does not end between the versions. Tokens that one version made are valid in the other.
"""

import io
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.harness.ledger import compare
from tests.faults.harness.load import Load
from tests.faults.harness.wire import Wire
from tests.faults.reading import backlog_of, rows_of, spooled, take_messages
from tests.paths import ROOT
from tests.running import EVENT, ServiceProcess
from tests.services import MySQLServer, wait_until

LAST_RELEASE = "946daa645c40731a438683a3c500bdafbdc5e0e0"
"""The newest commit before this version's changes to stored data. A release moves it to the release before."""
LOGS_OF_RELEASE = '''"""Stands for python-json-logger, which only the log of that release needed."""

import logging

LogData = dict


class JsonFormatter(logging.Formatter):
    def __init__(self, fmt=None, datefmt=None, style="%", **_):
        super().__init__(fmt, datefmt, style)
'''
EVENTS_PER_SECOND = 100.0
SPOOLED_MIN = 50
WAITING_MIN = 50
SECONDS = 60.0


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The source tree of the last release."""
    tree = tmp_path / "release"
    archive = subprocess.run(
        ["git", "archive", LAST_RELEASE, "ingest", "sql", "docs/runbooks.md"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode and not _has_history():
        pytest.skip("this copy has no history, and so not the last release: git fetch --unshallow")
    assert archive.returncode == 0, archive.stderr
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(tree, filter="data")
    (tree / "pythonjsonlogger").mkdir()
    for name in ("__init__", "core", "json"):
        (tree / "pythonjsonlogger" / f"{name}.py").write_text(LOGS_OF_RELEASE)
    return tree


class Upgrade:
    """Services of both versions on one data folder and database, one after the other."""

    def __init__(self, folder: Path, mysql: MySQLServer, settings: Mapping[str, str], broker: Wire) -> None:
        self.folder = folder
        self._mysql = mysql
        self._name = settings["DATABASE_URL"].rpartition("/")[2]
        self._broker = broker
        self.settings = {**settings, "BROKER_URL": broker.url, "DRAIN_DELAY_SECONDS": "0", "LEASE_SECONDS": "5"}

    def service(self, tree: Path | None, port: int = 0) -> ServiceProcess:
        return ServiceProcess(self.folder, self.settings | ({"PORT": str(port)} if port else {}), tree)

    def backlog(self, before_ms: int | None = None) -> int:
        """Count the events in the outbox; optionally only those accepted before this Unix time."""
        return backlog_of(self.settings["DATABASE_URL"], before_ms)

    def spooled(self) -> int:
        return spooled(self.folder / "var")

    @contextmanager
    def leftovers(self, service: ServiceProcess) -> Iterator[None]:
        """Make the service leave unpublished batches in outbox and spool. It is to be killed in the block."""
        with self._broker.swallowing():
            assert wait_until(lambda: self.backlog() > WAITING_MIN, SECONDS), service.log()
            self._rename("call_event_logs", "hidden")
            try:
                assert wait_until(lambda: self.spooled() > SPOOLED_MIN, SECONDS), service.log()
                yield
            finally:
                self._rename("hidden", "call_event_logs")

    def _rename(self, before: str, after: str) -> None:
        self._mysql.query(f"RENAME TABLE {before} TO {after}", self._name)


def take_over(upgrade: Upgrade, service: ServiceProcess) -> None:
    """Start the service, and wait until it has stored and published what the other version left."""
    before_ms = time.time_ns() // 1_000_000
    service.start()
    service.wait_for_status("ready", "degraded")
    assert wait_until(lambda: upgrade.spooled() == 0, SECONDS), service.log()
    assert wait_until(lambda: upgrade.backlog(before_ms) == 0, SECONDS), service.log()


def token_of(service: ServiceProcess, name: str) -> str:
    found = re.search(r"\S{32,}", service.command("tokens", "create", name).stdout)
    assert found
    return found[0]


def accepts(service: ServiceProcess, token: str) -> bool:
    return service.post({**EVENT, "call_id": "of the token"}, **{"X-API-TOKEN": token})[0] == 200


def test_each_version_takes_over_what_the_other_one_left_when_it_was_killed(
    tmp_path: Path, release: Path, mysql: MySQLServer, full_settings: Mapping[str, str]
) -> None:
    with Wire(full_settings["BROKER_URL"]) as wire:
        upgrade = Upgrade(tmp_path, mysql, full_settings, wire)
        with upgrade.service(release) as old, Load(old.port, EVENTS_PER_SECOND) as load:
            tokens = [token_of(old, "of-the-release")]
            with upgrade.leftovers(old):
                old.kill()
            new = upgrade.service(None, old.port)
            new.command("migrate")
            try:
                take_over(upgrade, new)
                tokens.append(token_of(new, "of-this-version"))
                assert all(accepts(new, token) for token in tokens)
                with upgrade.leftovers(new):
                    new.kill()
            finally:
                new.kill()
            take_over(upgrade, old)
            assert all(accepts(old, token) for token in tokens)
            load.stop()
            assert wait_until(lambda: upgrade.backlog() == 0, SECONDS), old.log()
    rows = [row for row in rows_of(full_settings["DATABASE_URL"]) if row[1] != "of the token"]
    messages = take_messages(full_settings["BROKER_URL"], full_settings["QUEUE"])
    result = compare(load.ledger, rows, [one for one in messages if b"of the token" not in one[1]])
    assert result.faults == {}, result
    assert result.ok > 2 * (SPOOLED_MIN + WAITING_MIN)
    assert "of a newer version" not in old.log()


def _has_history() -> bool:
    """CI fetches all commits. A shallow clone or an exported tree cannot have the last release."""
    command = ["git", "rev-parse", "--is-shallow-repository"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() == "false"
