"""The results of the fault tests, as one table at the end of the run."""

from collections.abc import Sequence
from functools import reduce

import msgspec

from tests.faults.harness.ledger import Result, added

COLUMNS = (
    *("fault", "rounds", "ok", "refused", "unknown"),
    *("rows lost", "rows doubled", "messages lost", "messages wrong", "repeated", "longest answer"),
)


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one fault's rounds."""

    fault: str
    rounds: int
    result: Result
    remark: str


class Report:
    """Collects findings, and the versions of the servers."""

    def __init__(self) -> None:
        self.servers: set[str] = set()
        self.findings: list[Finding] = []
        self.remarks: list[str] = []

    def add(self, fault: str, rounds: int, *results: Result, remark: str = "") -> Result:
        """Add the results of a fault's rounds, and return their sum."""
        total = reduce(added, results)
        self.findings.append(Finding(fault, rounds, total, remark))
        return total

    def lines(self) -> list[str]:
        """Return a Markdown table, with remarks below it."""
        remarks = [f"- {finding.fault}: {finding.remark}" for finding in self.findings if finding.remark]
        rows = [_cells(finding) for finding in self.findings]
        remarks += [f"- {remark}" for remark in self.remarks]
        return [", ".join(sorted(self.servers)), "", *_table([COLUMNS, *rows]), "", *remarks]


def _cells(finding: Finding) -> Sequence[str]:
    result = finding.result
    counts = (result.rows_lost, result.rows_doubled, result.messages_lost, result.messages_wrong, result.repeated)
    refused = ", ".join(f"{count} with {status}" for status, count in sorted(result.refused.items())) or "0"
    return (
        *(finding.fault, str(finding.rounds), str(result.ok), refused, str(result.unknown)),
        *(str(count) for count in counts),
        f"{result.longest_seconds:.2f} s",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
