"""Results as JSON files in results/, one a tool and a database."""

from pathlib import Path

import msgspec

from bench.paths import BENCH
from bench.report.stamp import Stamp

FOLDER = BENCH / "results"


def record(result: msgspec.Struct, tool: str, taken: Stamp, out: Path | None = None) -> Path:
    """Write the result, to `out` if that is given, and return where it is."""
    file = out or FOLDER / f"{tool}-{database_of(taken)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return file


def database_of(taken: Stamp) -> str:
    return "mariadb" if "MariaDB" in taken.versions.get("database", "") else "mysql"
