"""docs/dependencies.md lists the packages that are locked, who needs them, and their licences."""

import re
import runpy
import sys
import tomllib
from collections.abc import Callable, Mapping
from importlib.metadata import Distribution
from typing import Any

import pytest

from tests.paths import DOCS, ROOT

TEXT = (DOCS / "dependencies.md").read_text("utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DIRECT = {re.split(r"[^\w-]", one)[0] for one in PROJECT["dependencies"]}


class Tools:
    """The functions of `.ci/packages.py`."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.licence: Callable[[Distribution], str] = module["licence"]
        self.forbidden: Callable[[str], set[str]] = module["forbidden"]
        self.installed: Mapping[str, Distribution] = module["installed"](sys.path)
        self.locked: Mapping[str, str] = module["locked"](ROOT / "requirements.lock")
        self.with_tracing: Mapping[str, str] = module["locked"](ROOT / "requirements-otel.lock")


@pytest.fixture(scope="module")
def tools() -> Tools:
    return Tools(runpy.run_path(str(ROOT / ".ci/packages.py")))


def table(first: str) -> list[dict[str, str]]:
    """Return the rows of the table whose head begins so."""
    lines = TEXT[TEXT.index(first) :].partition("\n\n")[0].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_each_direct_dependency_has_its_reason(tools: Tools) -> None:
    rows = table("| package | why")

    assert {row["package"] for row in rows} == DIRECT
    assert all(len(row["why"]) > 10 for row in rows)
    assert f"{len(DIRECT)} direct dependencies, and {len(tools.locked)} packages" in TEXT


def test_each_other_package_is_listed_with_those_that_need_it(tools: Tools) -> None:
    needed = {row["package"]: set(row["needed by"].split(", ")) for row in table("| package | needed by")}

    assert needed.keys() == tools.locked.keys() - DIRECT
    for name, users in needed.items():
        for user in users:
            required = [one.replace("_", "-").lower() for one in tools.installed[user].requires or ()]
            assert any(re.match(rf"{name}(?![\w-])", one) for one in required), (name, user)


def test_packages_of_tracing_are_listed(tools: Tools) -> None:
    assert {row["package"] for row in table("| package | licence")} == tools.with_tracing.keys() - tools.locked.keys()


def test_licences_are_those_of_the_metadata_and_allowed(tools: Tools) -> None:
    rows = [row for first in ("why", "needed by", "licence") for row in table(f"| package | {first}")]

    assert {row["package"]: row["licence"] for row in rows} == {
        row["package"]: tools.licence(tools.installed[row["package"]]) for row in rows
    }
    assert not any(tools.forbidden(row["licence"]) for row in rows)


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [("MIT", set()), ("MIT OR GPL-2.0-only", {"GPL-2.0-only"}), ("", {"an unknown licence"})],
)
def test_licence_outside_the_list_is_forbidden(tools: Tools, expression: str, wrong: set[str]) -> None:
    assert tools.forbidden(expression) == wrong
