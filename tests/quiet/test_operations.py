"""Every planned operation in turn, under load. No alert fires, no figure is wrong, and no warning lacks a cause."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ingest.auth.tokens import entry_of
from tests.alerts.rules import write_hurried
from tests.certificates import HOST, Authority
from tests.faults.harness.scene import let_pass
from tests.paths import ROOT
from tests.quiet.figures import status
from tests.quiet.nodes import reload, restart, wait_for_others
from tests.quiet.replication import Pair, replicated
from tests.quiet.report import Report
from tests.quiet.stage import Stage
from tests.quiet.watch import watching
from tests.running import TOKEN, ServiceProcess
from tests.services import RabbitMQServer, free_port, rabbitmq_server, wait_until

REST_SECONDS = 360
"""Longer than the windows of five minutes and the waits of five minutes. The pace divides it."""
SECONDS = 60.0

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with replicated() as pair:
        yield pair


@pytest.fixture
def broker() -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Stops the nodes at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def stage(pair: Pair, broker: RabbitMQServer, report: Report, pace: int, tmp_path: Path) -> Iterator[Stage]:
    settings = {
        "DATABASE_URL": pair.fresh_url(),
        "BROKER_URL": broker.amqp_url,
        "QUEUE": broker.fresh_queue_name(),
        "WORKERS": "2",
        "DRAIN_DELAY_SECONDS": "1",
        "API_TOKENS": entry_of(TOKEN),
    }
    with watching(tmp_path, write_hurried(tmp_path, pace)) as watch:
        yield Stage(tmp_path, settings, watch, report)


def test_planned_operations_are_quiet(stage: Stage, stack: ExitStack, pair: Pair, pace: int, tmp_path: Path) -> None:
    one = ServiceProcess(stage.folder_of("one"), stage.settings_of("one"))
    stage.nodes.append(one)
    with stage.operation("start"):
        stack.enter_context(one)
    with stage.operation("reload, twice"):
        reload(one)
        reload(one)
    with stage.operation("scaling 1 → 4 → 2"):
        for workers in ("1", "4", "2"):
            restart(one, WORKERS=workers)
    other = ServiceProcess(stage.folder_of("other"), stage.settings_of("other"))
    with stage.operation("second node"):
        stack.enter_context(other)
        stage.nodes.append(other)
    with stage.operation("rolling restart"):
        for node in stage.nodes:
            restart(node)
    with stage.operation("new version"):
        deploy(stage, stack, new_version(tmp_path / "new"))
    with stage.operation("MySQL failover"):
        pair.fail_over()
        for node in stage.nodes:
            node.wait_for_status("ready", seconds=SECONDS)
    secure, authority = secure_node(stage)
    stage.apart.append(stack.enter_context(secure))
    with stage.operation("new certificate"):
        before = set(secure.worker_pids())
        authority.sign_for(HOST, stage.folder_of("secure") / "cert.pem", stage.folder_of("secure") / "key.pem")
        wait_for_others(secure, before)
    with stage.operation("rest afterwards"):
        let_pass(REST_SECONDS / pace)
    assert not stage.findings, "\n".join(stage.findings)


def new_version(tree: Path) -> Path:
    """Copy the service with another version."""
    for name in ("ingest", "sql"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = tree / "ingest" / "__init__.py"
    code.write_text(code.read_text("utf-8").replace('__version__ = "', '__version__ = "9.'), "utf-8")
    return tree


def deploy(stage: Stage, stack: ExitStack, tree: Path) -> None:
    """Migrate, then restart one node after the other, as `docs/operations.md` says."""
    for number, (name, old) in enumerate(zip(("one", "other"), list(stage.nodes), strict=True)):
        settings = stage.settings_of(name, PORT=str(old.port))
        new = ServiceProcess(stage.folder_of(name), settings, tree=tree)
        new.command("migrate")
        assert old.stop() == 0
        new.start()
        stack.callback(new.stop)
        new.wait_for_status("ready")
        stage.nodes[number] = new
        assert wait_until(lambda new=new: status(new)["version"].startswith("9."), SECONDS)  # type: ignore[misc]


def secure_node(stage: Stage) -> tuple[ServiceProcess, Authority]:
    """A node with HTTPS. Its pages are on the admin port, without TLS."""
    folder = stage.folder_of("secure")
    authority = Authority(folder / "ca.pem")
    authority.sign_for(HOST, folder / "cert.pem", folder / "key.pem")
    admin_port = free_port()
    settings = stage.settings_of(
        "secure",
        TLS_CERT=str(folder / "cert.pem"),
        TLS_KEY=str(folder / "key.pem"),
        ADMIN_PORT=str(admin_port),
        ADMIN_HOST="127.0.0.1",
    )
    node = ServiceProcess(folder, settings)
    node.port = admin_port  # the test asks only for pages and probes
    return node, authority
