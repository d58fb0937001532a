"""The Makefile: which Python and which venv a command uses."""

import os
import subprocess

import pytest

from tests.paths import ROOT


def planned(*words: str) -> str:
    """Return the commands that `make` would run, also if another `make` runs this test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
    command = ["make", "-n", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("words", "python"),
    [
        ([], ".venv/bin/python"),
        (["PYTHON=python3.99"], ".venv/bin/python"),
        (["PYTHON=.venv-3.99/bin/python"], ".venv-3.99/bin/python"),
    ],
)
def test_python_of_a_prepared_venv_runs_the_benchmark(words: list[str], python: str) -> None:
    assert f"{python} -m bench.saturation" in planned("bench", *words)


def test_missing_venv_is_made_with_the_python_of_its_name() -> None:
    commands = planned("bench", "PYTHON=.venv-3.99/bin/python")

    assert 'pythons="$(sh tests/setup/sid-python.sh 3.99)" && sh .ci/venv.sh make .venv-3.99 $pythons' in commands
    assert "python3.99" not in commands


def test_other_missing_venv_is_made_with_the_given_python() -> None:
    commands = planned("install", "VENV=var/absent", "PYTHON=python3.99")

    assert 'pythons="python3.99" && sh .ci/venv.sh make var/absent $pythons' in commands


def test_comparison_takes_another_python_for_the_base() -> None:
    commands = planned("bench-compare", "BASE=HEAD", "BASE_PYTHON=a/python", "PYTHON=.venv-3.99/bin/python")

    assert '.venv-3.99/bin/python -m bench.compare "HEAD" --base-python a/python' in commands


def test_tests_of_another_python_use_its_venv() -> None:
    assert ".venv-3.99/bin/pytest" in planned("test-python", "SID_PYTHON=3.99")


def test_modules_are_compiled_once_wherever_the_makefile_runs() -> None:
    show = "shown:;@echo $${PYTHONDONTWRITEBYTECODE-none}"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = ["make", "--eval", show, "shown"]

    shown = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout

    assert "none" in shown.splitlines()
