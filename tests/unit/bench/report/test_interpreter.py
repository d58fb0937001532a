"""The build of a Python, as results are stamped with it."""

import platform
import sys

import pytest

from bench.report.interpreter import Interpreter, interpreter


@pytest.mark.parametrize(
    ("flags", "build"),
    [
        ("'--enable-optimizations' '--with-lto' -O3 -flto", "PGO and LTO"),
        ("'--enable-optimizations' -O3 -fprofile-use", "PGO"),
        ("'--with-lto=thin' -O3", "LTO"),
        ("'--enable-optimizations' '--with-lto=no' -O3", "PGO"),
        ("'--enable-shared' -O3", "neither PGO nor LTO"),
    ],
)
def test_build_is_read_from_the_flags(flags: str, build: str) -> None:
    assert Interpreter("3.13.1", "GCC 14", flags, by_debian=False).build == f"{build}; GCC 14"


def test_flags_that_debian_removes_are_known() -> None:
    debian = Interpreter("3.13.1", "GCC 14", "'--enable-shared' -O2", by_debian=True)

    assert str(debian) == "3.13.1 (PGO and LTO, as Debian builds; GCC 14)"


def test_python_tells_its_version() -> None:
    told = interpreter(sys.executable)

    assert told.version == platform.python_version()
    assert told.compiler == platform.python_compiler()
    assert "-O" in told.flags
