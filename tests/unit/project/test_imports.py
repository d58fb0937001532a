"""Who may import whom: the pipeline knows the protocols, an adapter its own driver, and only `app` wires them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingest

PACKAGE = Path(ingest.__file__).parent
FOUNDATION = {
    *(
        "atomic_file",
        "batch_histogram",
        "deadlines",
        "errors",
        "events",
        "hosts",
        "ids",
        "keys",
        "ledger",
        "links",
        "logs",
        "metrics",
        "settings",
        "stored_json",
        "tokens",
    ),
}
PIPELINE = {
    *(
        "batch_endpoint",
        "batcher",
        "bodies",
        "committer",
        "dispatcher",
        "doubts",
        "endpoint",
        "grants",
        "health",
        "homes",
        "leftovers",
        "ordered_dispatcher",
        "ordered_relay",
        "relay",
        "settler",
        "tickets",
        "turns",
    ),
    *("key_cleaner", "outage", "rates", "token_watch", "worker"),
}
ADAPTERS = {"store.mysql", "store.sqlite", "publisher.amqp", "publisher.stream", "publisher.embedded", "spool"}
DRIVERS = {
    "asyncmy": {"store.mysql"},
    "sqlite3": {"sqlite", "store.sqlite", "publisher.embedded", "spool"},
    "aio_pika": {"publisher.amqp", "publisher.stream"},  # a super stream's exchange, where streams cannot make it
    "aiormq": {"publisher.amqp"},
    "pamqp": {"publisher.amqp"},
    "rstream": {"publisher.stream"},
    "blacksheep": {"app", "routes"},
}
COMMANDS = {
    "cli",
    "dead_cli",
    "dead_commands",
    "doctor",
    "replay",
    "replay_cli",
    "retention_cli",
    "tail",
    "token_cli",
    "token_commands",
}
"""They speak to servers themselves, apart from the service."""


def modules() -> dict[str, Path]:
    """`store.mysql` → its file, for every module of the package."""
    files = PACKAGE.rglob("*.py")
    return {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in files}


def imported(file: Path) -> Iterator[str]:
    """Full names, also of what a function imports at its first call."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name: str) -> set[str]:
    """Modules of the package that a module of it imports."""
    found = {one.removeprefix("ingest.") for one in imported(modules()[name]) if one.startswith("ingest.")}
    return found & modules().keys()


def adapter_of(name: str) -> str | None:
    """`store.mysql_errors` belongs to the adapter `store.mysql`, all of the package `spool` to `spool`."""
    own = (adapter for adapter in ADAPTERS if name == adapter or name.startswith((f"{adapter}_", f"{adapter}.")))
    return next(own, None)


@pytest.mark.parametrize("name", sorted(FOUNDATION))
def test_foundation_imports_nothing_else_of_the_package(name: str) -> None:
    assert own_imports(name) <= FOUNDATION


@pytest.mark.parametrize("name", sorted(PIPELINE))
def test_pipeline_knows_the_protocols_and_no_adapter(name: str) -> None:
    assert {one for one in own_imports(name) if adapter_of(one)} == set()


def test_no_adapter_imports_another() -> None:
    for name in modules():
        if own := adapter_of(name):
            assert {adapter_of(one) for one in own_imports(name)} <= {own, None}, name


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_a_driver_has_one_adapter(driver: str) -> None:
    users = {name for name, file in modules().items() if any(one.split(".")[0] == driver for one in imported(file))}
    assert {adapter_of(name) or name for name in users - COMMANDS} == DRIVERS[driver]
