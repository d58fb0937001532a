"""CPU accounting, for processes whose CPU time is known."""

import os
import subprocess
import sys
import time

import pytest

from bench.harness.cpu import TICKS_PER_SECOND, cpu_seconds, descendants, used
from tests.services import wait_until

BURN_SECONDS = 0.3
ROUNDING_SECONDS = 2 / TICKS_PER_SECOND
# A child process uses the CPU time. Then both processes wait for the end of their input.
BURNING = f"""
import subprocess, sys, time
child = "import time\\nwhile time.process_time() < {BURN_SECONDS}: pass\\nprint('burnt', flush=True)\\ninput()"
subprocess.run([sys.executable, "-c", child])
"""


def test_cpu_time_of_this_process_is_what_python_says() -> None:
    own = {"own": [os.getpid()]}
    started = time.process_time()
    before = cpu_seconds(own)
    begun = time.process_time()
    while time.process_time() - begun < BURN_SECONDS:
        pass
    least = time.process_time() - begun
    spent = used(before, cpu_seconds(own))["own"]
    most = time.process_time() - started

    # The query itself takes time, before and after it reads the kernel's figure.
    assert least - ROUNDING_SECONDS <= spent <= most + ROUNDING_SECONDS


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

    assert wait_until(lambda: not os.path.exists(f"/proc/{process.pid}"), 5.0)  # noqa: PTH110 - no path to keep
    with pytest.raises(OSError, match=str(process.pid)):
        cpu_seconds({"gone": [process.pid]})
