"""Where the benchmarks find the repository's other files, wherever a benchmark itself lies."""

from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
