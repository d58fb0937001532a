"""Runs the micro benchmarks and takes their ratios from pytest-benchmark's report."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.harness.targets import BenchFailed

FOLDER = Path(__file__).parent
SECONDS_MAX = 120


def measure() -> dict[str, float]:
    """`micro.NAME` → how many times its reference a case costs. Raises `BenchFailed`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pytest", str(FOLDER), "-p", "no:cacheprovider", "--benchmark-quiet"]
        run = subprocess.run(
            [*command, f"--benchmark-json={report}"],
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
        )
        if run.returncode:
            raise BenchFailed(f"pytest ended with {run.returncode}:\n{run.stdout}{run.stderr}")
        return ratios(json.loads(report.read_text()))


def ratios(report: Mapping[str, Any]) -> dict[str, float]:
    """The ratios that `beside` left in the report's cases."""
    return {f"micro.{case['name']}": float(case["extra_info"]["ratio"]) for case in report["benchmarks"]}
