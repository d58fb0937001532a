"""Folders of the repository that benchmarks read."""

from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
