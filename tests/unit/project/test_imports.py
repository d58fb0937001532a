"""The architecture as one list of layers: a package imports from its own layer and from lower ones."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import ingest
from tests.paths import ROOT

PACKAGE = Path(ingest.__file__).parent
LAYERS = (
    "cli",
    "server",
    "sources",
    "http",
    "ordering",
    "spool",
    "status",
    "pipeline",
    "store",
    "reading",
    "outbox",
    "broker",
    "settings",
    "auth",
    "audit",
    "erasure",
    "retention",
    "events",
    "telemetry",
    "files",
    "root",
)
"""The layers, from top to bottom.

`root` are the modules in `ingest/` itself, except the settings, which parse tokens.
"""
ENTRY = {"__init__", "__main__"}
DRIVERS = {
    "asyncmy": {"store.mysql"},
    "sqlite3": {"sqlite", "store.sqlite", "broker.embedded", "spool"},
    "aio_pika": {
        "broker.amqp",
        "broker.stream",
    },  # declares a super stream over AMQP
    "aiormq": {"broker.amqp"},
    "pamqp": {"broker.amqp"},
    "rstream": {"broker.stream"},
    "blacksheep": {"server.app", "server.application", "http.routes"},
    "granian": {"server", "http.rsgi", "telemetry.runtime"},
    "httptools": {"http.direct"},
    "click": {"cli"},
}
"""Library → modules that may use it. Commands may use every library, as they connect to servers themselves."""
ADAPTERS = ("store.mysql", "store.sqlite", "broker.amqp", "broker.stream", "broker.embedded", "spool")
SHARED = {("spool", "store.sqlite.keys")}
MODULES_MAX = 15
"""Modules in a folder; more are hard to survey."""


def modules() -> dict[str, Path]:
    """Return name → file of every module, such as `store.mysql.pool`."""
    names = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = file
    return names


MODULES = modules()


@cache
def imported(file: Path) -> frozenset[str]:
    """Return full names of imports, including those inside functions."""
    return frozenset(_imported(ast.parse(file.read_text("utf-8"))))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}


def own_imports(name: str) -> set[str]:
    """Return the package's modules that a module imports."""
    found = {one.removeprefix("ingest.") for one in imported(MODULES[name]) if one.startswith("ingest.")}
    return found & MODULES.keys()


def layer_of(name: str) -> str:
    first = name.split(".", maxsplit=1)[0]
    return first if first in LAYERS else "root"


def belongs(name: str, owner: str) -> bool:
    return name == owner or name.startswith(f"{owner}.")


def test_every_package_has_a_layer() -> None:
    packages = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    assert packages <= set(LAYERS)
    assert {layer for layer in LAYERS if layer != "root"} == packages


@pytest.mark.parametrize("name", sorted(MODULES.keys() - ENTRY))
def test_no_import_points_up(name: str) -> None:
    own = LAYERS.index(layer_of(name))
    assert {one for one in own_imports(name) if LAYERS.index(layer_of(one)) < own} == set()


def test_no_import_goes_in_a_circle() -> None:
    left = {name: own_imports(name) - {name} for name in MODULES}
    while ready := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in ready}
    assert left == {}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_no_adapter_imports_another(adapter: str) -> None:
    others = [one for one in ADAPTERS if one != adapter]
    for name in (one for one in MODULES if belongs(one, adapter)):
        strange = {one for one in own_imports(name) for other in others if belongs(one, other)}
        assert {one for one in strange if (adapter, one) not in SHARED} == set(), name


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_library_is_imported_only_by_its_users(driver: str) -> None:
    users = {name for name, file in MODULES.items() if any(one.split(".")[0] == driver for one in imported(file))}
    allowed = DRIVERS[driver]
    assert {one for one in users if layer_of(one) != "cli" and not any(belongs(one, a) for a in allowed)} == set()
    assert {a for a in allowed if not any(belongs(one, a) for one in users)} == set()


@pytest.mark.parametrize("tree", ["ingest", "bench", "tests", "observability"])
def test_no_folder_has_too_many_modules(tree: str) -> None:
    folders = [ROOT / tree, *(one for one in (ROOT / tree).rglob("*") if one.is_dir())]
    counts = {str(one.relative_to(ROOT)): len(list(one.glob("*.py"))) for one in folders}
    assert {folder: count for folder, count in counts.items() if count > MODULES_MAX} == {}


def test_embedded_service_imports_no_driver_of_a_server() -> None:
    """Each takes a tenth of a second or more of every start."""
    code = "import sys, ingest.cli.serve; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)

    assert {"asyncmy", "aio_pika", "aiormq", "rstream", "cryptography", "opentelemetry"}.isdisjoint(done.stdout.split())


SHOWS_MODULES = (
    "import sys; base = set(sys.modules)\n"
    "from ingest.__main__ import main\n"
    "try: main()\n"
    "except SystemExit: pass\n"
    "print(*sorted(set(sys.modules) - base), file=sys.stderr)"
)


def imported_by(*words: str, folder: Path = ROOT) -> set[str]:
    """Return the modules that a command line imports beyond those that Python starts with."""
    command = [sys.executable, "-c", SHOWS_MODULES, *words]
    return set(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stderr.split())


def test_installed_version_is_shown_without_an_import_of_a_library(tmp_path: Path) -> None:
    """A package knows its commit. A checkout asks git, for which it needs a module more."""
    for name in ("__init__.py", "__main__.py", "version.py", "commit.py"):
        (tmp_path / "ingest").mkdir(exist_ok=True)
        (tmp_path / "ingest" / name).write_text((PACKAGE / name).read_text("utf-8"), "utf-8")
    (tmp_path / "ingest" / "commit.txt").write_text("0123456789abcdef")

    found = imported_by("--version", folder=tmp_path)

    own = {name for name in found if name.startswith("ingest")}
    assert own == {"ingest", "ingest.__main__", "ingest.commit", "ingest.version"}
    assert {name.partition(".")[0] for name in found - own} <= sys.stdlib_module_names
    assert {"pathlib", "re", "subprocess", "typing"}.isdisjoint(found)


def test_help_imports_only_click_of_all_libraries() -> None:
    """Each command imports what it needs when it runs."""
    found = imported_by("--help")

    assert {name for name in found if name.startswith("ingest")} == {
        *("ingest", "ingest.__main__", "ingest.cli", "ingest.cli.main", "ingest.cli.shell"),
        *("ingest.cli.shell.ctrl_c", "ingest.cli.shell.output"),
    }
    assert {"asyncio", "json", "logging", "msgspec", "pathlib", "socket", "sqlite3", "subprocess"}.isdisjoint(found)
