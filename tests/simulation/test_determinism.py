"""The same seed runs the same schedule: in one process, and in others with another hash seed."""

import hashlib
import os
import subprocess
import sys

from tests.paths import ROOT
from tests.simulation.running import run

SEED = 7
SCRIPT = f"from tests.simulation.test_determinism import fingerprint; print(fingerprint({SEED}))"


def fingerprint(seed: int) -> str:
    result = run(seed)
    return hashlib.sha256(repr((result.decisions, result.steps, result.seconds, result.trace)).encode()).hexdigest()


def test_a_seed_makes_the_same_decisions_in_every_process() -> None:
    first = fingerprint(SEED)
    assert fingerprint(SEED) == first
    assert fingerprint(SEED + 1) != first
    others = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    assert {one.communicate()[0].decode().strip() for one in others} == {first}
