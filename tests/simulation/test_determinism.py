"""The same seed runs the same schedule: in one process, and in another with another hash seed."""

import hashlib
import os
import subprocess
import sys

from tests.paths import ROOT
from tests.simulation.running import run

PORTS, STREAM = 3, 1
"""A seed with models at the ports, and one whose statements and frames reach models of MySQL and of a stream."""
SCRIPT = "from tests.simulation.test_determinism import fingerprints; print(*fingerprints())"


def fingerprints() -> list[str]:
    results = (run(seed) for seed in (PORTS, STREAM))
    told = (repr((one.decisions, one.steps, one.seconds, one.trace)) for one in results)
    return [hashlib.sha256(one.encode()).hexdigest() for one in told]


def test_a_seed_makes_the_same_decisions_in_every_process() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0].split() for process in processes)
    assert len(first) == 2
    assert first == second
