"""Writes results as JSON files to results/, one for each benchmark and database."""

from pathlib import Path

import msgspec

from bench.paths import BENCH
from bench.report.stamp import Stamp

FOLDER = BENCH / "results"


def record(result: msgspec.Struct, tool: str, taken: Stamp, out: Path | None = None) -> Path:
    """Write the result to `out`, or to results/, and return the file."""
    file = out or FOLDER / f"{tool}-{database_of(taken)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return file


def database_of(taken: Stamp) -> str:
    return "mariadb" if "MariaDB" in taken.versions.get("database", "") else "mysql"
