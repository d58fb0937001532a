"""CPU accounting, for processes whose CPU time is known."""

import os
import subprocess
import sys

import pytest

from bench.harness.cpu import TICKS_PER_SECOND, cpu_seconds, descendants
from tests.services import wait_until

BURN_SECONDS = 0.3
ROUNDING_SECONDS = 2 / TICKS_PER_SECOND
FLOAT_ERROR_SECONDS = 1e-6
# A process tells its CPU time, before and after it reads a line.
TELLING = f"""
import os
while sum(os.times()[:2]) < {BURN_SECONDS}: pass
print(sum(os.times()[:2]), flush=True)
input()
print(sum(os.times()[:2]), flush=True)
"""
# A child process uses the CPU time. Then both processes wait for the end of their input.
BURNING = f"""
import subprocess, sys, time
child = "import time\\nwhile time.process_time() < {BURN_SECONDS}: pass\\nprint('burnt', flush=True)\\ninput()"
subprocess.run([sys.executable, "-c", child])
"""


def test_cpu_time_of_a_process_is_what_the_process_is_told() -> None:
    """A process of its own: servers that other tests started are children of this one, and use CPU time too."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", TELLING], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = float(process.stdout.readline())
        seen = cpu_seconds({"one": [process.pid]})["one"]
        process.stdin.write(b"\n")
        process.stdin.close()
        after = float(process.stdout.readline())

    # Both are the kernel's figures, in whole ticks; only their sum in floating point may differ.
    assert before - FLOAT_ERROR_SECONDS <= seen <= after + FLOAT_ERROR_SECONDS


def test_cpu_time_of_a_child_counts_for_its_component() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BURNING], stdin=pipe, stdout=pipe) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"burnt\n"
        assert len(descendants(parent.pid)) == 1
        whole = cpu_seconds({"tree": [parent.pid]})["tree"]
        child = cpu_seconds({"child": descendants(parent.pid)})["child"]
        parent.stdin.write(b"\n")

    assert child >= BURN_SECONDS - ROUNDING_SECONDS
    assert whole >= child


def test_process_that_is_gone_has_no_cpu_time() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass

    assert wait_until(lambda: not os.path.exists(f"/proc/{process.pid}"), 60.0)  # noqa: PTH110 - no path to keep
    with pytest.raises(OSError, match=str(process.pid)):
        cpu_seconds({"gone": [process.pid]})
